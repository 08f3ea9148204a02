//! The contracts of the suite: the messages and services under `cqm/`, compiled, and what their options say.
//!
//! - [`customers`], [`complaints`], [`surveys`], [`notifications`], [`loyalty`], [`gateway`]: what each service answers;
//! - [`events`]: what a service tells the others, and the feed it is read by;
//! - [`audit`]: what was shown of personal data, and to whom;
//! - [`subjects`]: how a service forgets a person;
//! - [`options`]: roles, policies, and the reasons of errors that all services share;
//! - [`policy`]: who may call a method, from the contracts;
//! - [`PersonalData`]: what an answer tells about people, and its masks;
//! - [`Mutation`]: the request id of every message that changes something.
//!
//! Personal data is marked in the contracts and never printed:
//!
//! ```
//! let customer = cqm_proto::customers::v1::Customer {
//!     name: "customers/1".to_owned(),
//!     display_name: "Wang Li".to_owned(),
//!     ..Default::default()
//! };
//! let printed = format!("{customer:?}");
//! assert!(printed.contains("customers/1") && printed.contains("[personal]") && !printed.contains("Wang"));
//! ```

pub mod codec;
mod debug;
mod masking;
mod mutation;
pub mod policy;

pub use cqm::{
    audit, complaints, customers, events, gateway, loyalty, notifications, options, subjects, surveys,
};
pub use masking::{Kinds, PersonalData, Subjects, is_masked, masked};
pub use mutation::Mutation;

/// All contracts with their options, encoded as a `google.protobuf.FileDescriptorSet`: what reflection serves.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

// The packages refer to one another by relative paths, so the modules must be nested as the packages are.
#[allow(clippy::all, clippy::unwrap_used, reason = "generated")]
mod cqm {
    /// Customers, their purchases and the contacts with them.
    pub mod customers {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("cqm.customers.v1");
        }
    }

    /// Complaints, from registration to closing.
    pub mod complaints {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("cqm.complaints.v1");
        }
    }

    /// Questionnaires, invitations and answers.
    pub mod surveys {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("cqm.surveys.v1");
        }
    }

    /// Templates, messages and what became of them.
    pub mod notifications {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("cqm.notifications.v1");
        }
    }

    /// Members and the ledger of points.
    pub mod loyalty {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("cqm.loyalty.v1");
        }
    }

    /// The view across all services, and the coordinator's work.
    pub mod gateway {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("cqm.gateway.v1");
        }
    }

    /// Events and the feed they are read by.
    pub mod events {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("cqm.events.v1");
        }
    }

    /// Releases of personal data.
    pub mod audit {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("cqm.audit.v1");
        }
    }

    /// How a service forgets a person.
    pub mod subjects {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("cqm.subjects.v1");
        }
    }

    /// Roles, policies and the reasons that all services share.
    pub mod options {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("cqm.options.v1");
        }
    }
}

/// Google's common messages, as far as the contracts use them.
#[allow(clippy::all, reason = "generated")]
pub mod google {
    /// Statuses and their details.
    pub mod rpc {
        tonic::include_proto!("google.rpc");
    }

    /// Money and dates.
    pub mod r#type {
        // prost escapes the keyword in the name of the file, too.
        tonic::include_proto!("google.r#type");
    }
}
