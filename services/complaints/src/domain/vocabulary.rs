//! The words of the field: closed sets whose codes and names are those of the contract.

/// A number that stands for no word of its set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code} is no {set}")]
pub struct UnknownCode {
    pub set: &'static str,
    pub code: i32,
}

macro_rules! vocabulary {
    ($(#[$about:meta])* $set:ident { $($(#[$meaning:meta])* $word:ident = $code:literal $name:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $set {
            $($(#[$meaning])* $word = $code,)+
        }

        impl $set {
            pub const ALL: &[Self] = &[$(Self::$word),+];

            /// The number in the contract and in the rows.
            pub const fn code(self) -> i16 {
                self as i16
            }

            /// The contract's name without its prefix: what events, facts and refusals carry.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$word => $name,)+
                }
            }
        }

        impl TryFrom<i32> for $set {
            type Error = UnknownCode;

            fn try_from(code: i32) -> Result<Self, UnknownCode> {
                match code {
                    $($code => Ok(Self::$word),)+
                    _ => Err(UnknownCode { set: stringify!($set), code }),
                }
            }
        }
    };
}

vocabulary! {
    /// How far the handling has got.
    State {
        /// It came in; nobody has taken note of it.
        Registered = 1 "REGISTERED",
        /// Somebody has taken note of it.
        Acknowledged = 2 "ACKNOWLEDGED",
        /// The facts and the cause are being found.
        Investigating = 3 "INVESTIGATING",
        /// It is settled from the company's side.
        Resolved = 4 "RESOLVED",
        /// It is done.
        Closed = 5 "CLOSED",
    }
}

vocabulary! {
    /// How a complaint came in.
    Channel {
        Phone = 1 "PHONE",
        Email = 2 "EMAIL",
        OnlineChat = 3 "ONLINE_CHAT",
        Web = 4 "WEB",
        SocialMedia = 5 "SOCIAL_MEDIA",
        OnSite = 6 "ON_SITE",
        SuggestionBox = 7 "SUGGESTION_BOX",
    }
}

vocabulary! {
    /// What complaints are about, and what causes them.
    Category {
        ProductQuality = 1 "PRODUCT_QUALITY",
        AfterSalesService = 2 "AFTER_SALES_SERVICE",
        EnquiryService = 3 "ENQUIRY_SERVICE",
        Logistics = 4 "LOGISTICS",
        /// The customer was not told, or was told something wrong.
        Information = 5 "INFORMATION",
        /// The customer expected more than was promised.
        Expectation = 6 "EXPECTATION",
        Other = 7 "OTHER",
    }
}

vocabulary! {
    /// How severe a complaint is.
    Severity {
        /// A nuisance.
        Low = 1 "LOW",
        /// The customer cannot use what they paid for as they should.
        Medium = 2 "MEDIUM",
        /// The customer suffers a loss or is about to leave.
        High = 3 "HIGH",
        /// Somebody's safety, the law or the company's name is at stake.
        Critical = 4 "CRITICAL",
    }
}

vocabulary! {
    /// What a complaint asks for.
    Remedy {
        Explanation = 1 "EXPLANATION",
        Apology = 2 "APOLOGY",
        Repair = 3 "REPAIR",
        Replacement = 4 "REPLACEMENT",
        Refund = 5 "REFUND",
        Compensation = 6 "COMPENSATION",
        /// The remedy note says what.
        Other = 7 "OTHER",
    }
}

vocabulary! {
    /// Why a complaint is opened again.
    ReopenReason {
        /// The customer is dissatisfied with the way it was settled.
        Dissatisfied = 1 "DISSATISFIED",
        /// The problem is still there or has come back.
        NotSolved = 2 "NOT_SOLVED",
        /// New facts are known.
        NewFacts = 3 "NEW_FACTS",
        /// Supervision found that the handling does not keep the standard.
        Supervision = 4 "SUPERVISION",
    }
}

vocabulary! {
    /// What is done about a complaint.
    Action {
        Registered = 1 "REGISTERED",
        Acknowledged = 2 "ACKNOWLEDGED",
        Assigned = 3 "ASSIGNED",
        InvestigationStarted = 4 "INVESTIGATION_STARTED",
        RootCauseRecorded = 5 "ROOT_CAUSE_RECORDED",
        Resolved = 6 "RESOLVED",
        Closed = 7 "CLOSED",
        Reopened = 8 "REOPENED",
        /// By time itself: nobody asks for it and no state refuses it.
        SlaWarned = 9 "SLA_WARNED",
        /// As the warning.
        SlaBreached = 10 "SLA_BREACHED",
    }
}

vocabulary! {
    /// How it is with a clock at a moment.
    ClockState {
        Running = 1 "RUNNING",
        /// It runs, and most of its target is consumed.
        NearBreach = 2 "NEAR_BREACH",
        /// It runs, and its due time has come.
        Breached = 3 "BREACHED",
        /// It ended in time.
        Met = 4 "MET",
        /// It ended too late.
        Missed = 5 "MISSED",
    }
}

impl Action {
    /// What somebody asks for who wants it done: how refusals call it.
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Registered => "register",
            Self::Acknowledged => "acknowledge",
            Self::Assigned => "assign",
            Self::InvestigationStarted => "start_investigation",
            Self::RootCauseRecorded => "record_root_cause",
            Self::Resolved => "resolve",
            Self::Closed => "close",
            Self::Reopened => "reopen",
            Self::SlaWarned => "warn",
            Self::SlaBreached => "breach",
        }
    }
}

impl State {
    /// The lifecycle, whole: the state after `action`, or `None` when this state does not allow it.
    ///
    /// A simple case is resolved without an investigation, at once after somebody took note of it (ISO 10002).
    pub const fn after(self, action: Action) -> Option<Self> {
        match (self, action) {
            (Self::Registered, Action::Acknowledged) => Some(Self::Acknowledged),
            (Self::Acknowledged, Action::InvestigationStarted) => Some(Self::Investigating),
            (Self::Investigating, Action::RootCauseRecorded) => Some(Self::Investigating),
            (Self::Acknowledged | Self::Investigating, Action::Resolved) => Some(Self::Resolved),
            (Self::Resolved, Action::Closed) => Some(Self::Closed),
            (Self::Resolved | Self::Closed, Action::Reopened) => Some(Self::Investigating),
            (
                Self::Registered | Self::Acknowledged | Self::Investigating | Self::Resolved,
                Action::Assigned,
            ) => Some(self),
            _ => None,
        }
    }
}
