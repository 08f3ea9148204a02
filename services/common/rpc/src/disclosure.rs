//! Who sees what of an answer.
//!
//! Handlers answer in clear, to whomever; here, on the way out, what the caller has no right to is masked, and what
//! they see because they said what for is written down first. It stands in one place for all services, behind every
//! cache and every remembered answer, so that one row serves all callers.

use std::pin::Pin;
use std::sync::Arc;

use cqm_proto::options::v1::PersonalKind;
use cqm_proto::{Kinds, PersonalData, Subjects, policy};
use http::Extensions;

use crate::{Call, Error, Purpose};

/// What is told to whoever may call: there is nothing to write down about it.
const SECRETS: Kinds = Kinds::of(&[PersonalKind::Secret]);

/// One answer with personal data in clear, to a caller who said what for.
#[derive(Clone, Debug)]
pub struct Release {
    pub call: Call,
    pub purpose: Purpose,
    /// What was told in clear.
    pub kinds: Kinds,
    pub subjects: Subjects,
}

/// Where releases are written down.
pub trait ReleaseLog: Send + Sync {
    /// Returns when the release is on the disk, or says why it is not.
    fn write(&self, release: Release) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + '_>>;
}

/// How the process keeps its releases. It stands in the extensions of every request; without it nothing is released.
#[derive(Clone)]
pub enum Releases {
    /// The process owns what it tells, and writes down what it releases.
    Written(Arc<dyn ReleaseLog>),
    /// The process passes on what the owners have masked, released and written down.
    PassedOn,
}

/// What a call's answer goes over on its way out.
#[derive(Clone)]
pub(crate) struct Desk {
    call: Call,
    releases: Option<Releases>,
}

impl Desk {
    pub fn of(extensions: &Extensions) -> Result<Self, Error> {
        let call = extensions.get::<Call>().cloned();
        let call = call.ok_or_else(|| Error::internal("the server stack put no call into the request"))?;
        Ok(Self { call, releases: extensions.get::<Releases>().cloned() })
    }

    pub fn call(&self) -> &Call {
        &self.call
    }

    /// The answer as the caller may see it. Fails when a release could not be written down.
    pub async fn disclose<A: PersonalData>(&self, mut answer: A) -> Result<A, Error> {
        if A::KINDS.is_empty() {
            return Ok(answer);
        }
        let rights = policy::rights(&self.call.caller.roles);
        let (log, purpose) = match (&self.releases, &self.call.purpose) {
            (Some(Releases::PassedOn), _) => return Ok(answer),
            (Some(Releases::Written(log)), Some(purpose)) => (log, purpose),
            _ => {
                answer.mask(A::KINDS - rights.clear);
                return Ok(answer);
            }
        };
        let clear = A::KINDS & (rights.clear | rights.purpose);
        answer.mask(A::KINDS - clear);
        let kinds = clear - SECRETS;
        let mut subjects = Subjects::default();
        if !kinds.is_empty() {
            answer.subjects(&mut subjects);
        }
        if !subjects.resources.is_empty() {
            let (call, purpose) = (self.call.clone(), purpose.clone());
            log.write(Release { call, purpose, kinds, subjects }).await?;
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use cqm_proto::customers::v1::{Customer, ListCustomersResponse, Phone};
    use cqm_proto::options::v1::{Purpose as Code, Role};
    use cqm_proto::surveys::v1::GetInvitationLinkResponse;
    use futures::StreamExt;

    use super::*;
    use crate::reason;

    #[derive(Default)]
    struct Memory {
        releases: Mutex<Vec<Release>>,
        full: bool,
    }

    impl ReleaseLog for Memory {
        fn write(&self, release: Release) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + '_>> {
            Box::pin(async move {
                if self.full {
                    return Err(Error::Unavailable { reason: reason::STORAGE_UNAVAILABLE, source: None });
                }
                self.releases.lock().unwrap().push(release);
                Ok(())
            })
        }
    }

    fn desk(role: Role, purpose: bool, log: &Arc<Memory>) -> Desk {
        let mut call = Call::internal("/x", Duration::from_secs(1));
        call.caller.roles = vec![role];
        call.purpose = purpose.then(|| Purpose { code: Code::CustomerCare, reference: "visits/7".into() });
        Desk { call, releases: Some(Releases::Written(log.clone())) }
    }

    fn customer() -> Customer {
        Customer {
            name: "customers/1".to_owned(),
            display_name: "王丽".to_owned(),
            phones: vec![Phone { number: "+8613800134321".to_owned(), ..Default::default() }],
            gender: 1,
            ..Default::default()
        }
    }

    #[tokio::test]
    async fn what_a_role_has_no_right_to_is_masked_and_nothing_is_written_down() {
        let log = Arc::new(Memory::default());
        let seen = desk(Role::ServiceRepresentative, false, &log).disclose(customer()).await.unwrap();
        assert_eq!((seen.display_name.as_str(), seen.gender), ("王丽", 0));
        assert_eq!(seen.phones[0].number, "+86*******4321");
        let seen = desk(Role::CrmSpecialist, false, &log).disclose(customer()).await.unwrap();
        assert_eq!(seen, customer());
        assert!(log.releases.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_purpose_opens_what_the_contract_says_and_is_written_down_once_for_a_page() {
        let log = Arc::new(Memory::default());
        let page = ListCustomersResponse {
            customers: vec![customer(), Customer { name: "customers/2".to_owned(), ..customer() }],
            ..Default::default()
        };
        let seen = desk(Role::TechnicalSupport, true, &log).disclose(page).await.unwrap();
        assert_eq!(seen.customers[1].phones[0].number, "+8613800134321");
        assert_eq!(seen.customers[1].gender, 0, "never, whatever for");
        let releases = log.releases.lock().unwrap();
        assert_eq!(releases.len(), 1);
        let names: Vec<&str> = releases[0].subjects.resources.iter().map(String::as_str).collect();
        assert_eq!(names, ["customers/1", "customers/2"]);
        assert!(
            releases[0].kinds.has(PersonalKind::Phone) && !releases[0].kinds.has(PersonalKind::Attribute)
        );
    }

    #[tokio::test]
    async fn whoever_says_what_for_is_written_down_also_with_the_right_to_it() {
        let log = Arc::new(Memory::default());
        desk(Role::InternalService, true, &log).disclose(customer()).await.unwrap();
        assert_eq!(log.releases.lock().unwrap().len(), 1);
        let link = GetInvitationLinkResponse { token: "t".to_owned(), ..Default::default() };
        let seen = desk(Role::InternalService, true, &log).disclose(link.clone()).await.unwrap();
        assert_eq!(seen, link);
        assert_eq!(log.releases.lock().unwrap().len(), 1, "a secret is handed on, not looked at");
    }

    #[tokio::test]
    async fn what_cannot_be_written_down_is_not_told() {
        let log = Arc::new(Memory { full: true, ..Default::default() });
        let answer = desk(Role::ServiceManager, true, &log).disclose(customer()).await;
        assert_eq!(answer.unwrap_err().reason(), reason::STORAGE_UNAVAILABLE);
        let without = Desk { releases: None, ..desk(Role::ServiceManager, true, &log) };
        let seen = without.disclose(customer()).await.unwrap();
        assert_eq!(seen.phones[0].number, "+86*******4321", "a process without a log releases nothing");
    }

    #[tokio::test]
    async fn what_others_released_is_passed_on_as_it_came() {
        let log = Arc::new(Memory::default());
        let gateway = Desk { releases: Some(Releases::PassedOn), ..desk(Role::Supervisor, true, &log) };
        assert_eq!(gateway.disclose(customer()).await.unwrap(), customer());
        assert!(log.releases.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn every_message_of_a_stream_is_an_answer() {
        let log = Arc::new(Memory::default());
        let Desk { call, releases } = desk(Role::ServiceRepresentative, true, &log);
        let mut request = tonic::Request::new(());
        request.extensions_mut().insert(call);
        request.extensions_mut().insert(releases.unwrap());
        let answers = crate::serve_stream(request, async |_, ()| {
            Ok(futures::stream::iter([Ok(customer()), Ok(Customer::default()), Ok(customer())]))
        });
        let told: Vec<Customer> = answers.await.unwrap().into_inner().map(Result::unwrap).collect().await;
        assert_eq!((told[0].phones[0].number.as_str(), told.len()), ("+8613800134321", 3));
        assert_eq!(log.releases.lock().unwrap().len(), 2, "an answer about nobody is no release");
    }
}
