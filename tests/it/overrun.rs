//! What Postgres still does for callers of the gateway whose deadline has passed or who have hung up: a read and a mutation
//! of every service.

use std::time::{Duration, Instant};

use cqm_proto::complaints::v1::complaint_service_client::ComplaintServiceClient;
use cqm_proto::complaints::v1::{AcknowledgeComplaintRequest, GetComplaintRequest};
use cqm_proto::customers::v1::customer_service_client::CustomerServiceClient;
use cqm_proto::customers::v1::{DeleteCustomerRequest, GetCustomerRequest};
use cqm_proto::loyalty::v1::programme_service_client::ProgrammeServiceClient;
use cqm_proto::loyalty::v1::{ActivateProgrammeRequest, GetProgrammeRequest};
use cqm_proto::notifications::v1::template_service_client::TemplateServiceClient;
use cqm_proto::notifications::v1::{GetTemplateRequest, Template, UpdateTemplateRequest};
use cqm_proto::surveys::v1::questionnaire_service_client::QuestionnaireServiceClient;
use cqm_proto::surveys::v1::{GetQuestionnaireRequest, PublishQuestionnaireRequest};
use cqm_runtime::config::Settings;
use cqm_runtime::tasks::detached;
use cqm_testkit::eventually;
use cqm_tests::{Bearer, Caller};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use secrecy::ExposeSecret;
use tokio::task::JoinHandle;
use tonic::{Request, Status};

use crate::contract::nobody;
use crate::rolling::{KEY, Names, edge, pods_with};

/// Longer than any deadline of these tests: only a deadline can end the work, or the end of its caller.
const NEVER: Duration = Duration::from_secs(24 * 60 * 60);
/// Long enough for a call to get to where it waits.
const SHORT: Duration = Duration::from_secs(3);
/// As long as a call may take.
const LONG: Duration = Duration::from_secs(30);

/// Calls a method of nothing that is there, with this much time.
type Call = Box<dyn Fn(Caller, Duration) -> BoxFuture<'static, Result<(), Status>>>;

/// One service, and the table that both of its calls have to look into.
struct Held {
    service: &'static str,
    table: &'static str,
    read: Call,
    mutation: Call,
    /// Holds the table as long as it is there.
    _holder: AsyncPgConnection,
    watcher: AsyncPgConnection,
}

impl Held {
    /// Sessions that wait for the table, as pg_stat_activity has them.
    async fn working(&mut self) -> i64 {
        #[derive(diesel::QueryableByName)]
        struct Row {
            #[diesel(sql_type = diesel::sql_types::BigInt)]
            count: i64,
        }
        let waiting = format!(
            "SELECT count(*) FROM pg_stat_activity AS activity JOIN pg_locks AS held USING (pid)
             WHERE activity.state = 'active' AND held.relation = '{}'::regclass AND NOT held.granted",
            self.table
        );
        diesel::sql_query(waiting).get_result::<Row>(&mut self.watcher).await.unwrap().count
    }
}

macro_rules! call {
    ($client:ident, $method:ident, $request:expr) => {
        Box::new(|caller, within| {
            let (mut client, mut request) = ($client::new(caller), Request::new($request));
            request.set_timeout(within);
            async move { client.$method(request).await.map(drop) }.boxed()
        })
    };
}

/// All services behind a gateway, each with a table that nobody gets to see.
struct Suite {
    caller: Caller,
    held: Vec<Held>,
    _kept: Box<dyn std::any::Any>,
}

impl Suite {
    async fn start() -> Self {
        let (names, folder) = (Names::default(), tempfile::tempdir().unwrap());
        let (mut held, mut kept) = (Vec::new(), Vec::<Box<dyn std::any::Any>>::new());
        macro_rules! service {
            ($app:ty, $own:expr, $table:literal, $read:expr, $mutation:expr) => {
                let pods = pods_with::<$app>(&names, $own, quiet).await;
                let url = pods[0].0.database.url.expose_secret().to_owned();
                let mut holder = AsyncPgConnection::establish(&url).await.unwrap();
                let lock = format!("BEGIN; LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", $table);
                holder.batch_execute(&lock).await.unwrap();
                held.push(Held {
                    service: stringify!($app),
                    table: $table,
                    read: $read,
                    mutation: $mutation,
                    _holder: holder,
                    watcher: AsyncPgConnection::establish(&url).await.unwrap(),
                });
                kept.push(Box::new(pods));
            };
        }
        service!(
            cqm_customer_data::App,
            "",
            "customers",
            call!(
                CustomerServiceClient,
                get_customer,
                GetCustomerRequest { name: nobody("customers"), ..Default::default() }
            ),
            call!(
                CustomerServiceClient,
                delete_customer,
                DeleteCustomerRequest { name: nobody("customers"), ..Default::default() }
            )
        );
        service!(
            cqm_complaints::App,
            "",
            "complaints",
            call!(ComplaintServiceClient, get_complaint, GetComplaintRequest { name: nobody("complaints") }),
            call!(
                ComplaintServiceClient,
                acknowledge_complaint,
                AcknowledgeComplaintRequest { name: nobody("complaints"), ..Default::default() }
            )
        );
        service!(
            cqm_surveys::App,
            &format!("public_url = \"http://localhost/survey/\"\ntoken_keys = [\"{KEY}\"]\n"),
            "questionnaires",
            call!(
                QuestionnaireServiceClient,
                get_questionnaire,
                GetQuestionnaireRequest { name: nobody("questionnaires") }
            ),
            call!(
                QuestionnaireServiceClient,
                publish_questionnaire,
                PublishQuestionnaireRequest { name: nobody("questionnaires"), ..Default::default() }
            )
        );
        service!(
            cqm_notifications::App,
            &format!("mailbox = \"{}\"\n", folder.path().display()),
            "templates",
            call!(
                TemplateServiceClient,
                get_template,
                GetTemplateRequest { name: "templates/none".to_owned() }
            ),
            call!(
                TemplateServiceClient,
                update_template,
                UpdateTemplateRequest {
                    template: Some(Template {
                        name: "templates/none".to_owned(),
                        variables: vec!["customer".to_owned()],
                        ..Default::default()
                    }),
                    ..Default::default()
                }
            )
        );
        service!(
            cqm_loyalty::App,
            &format!("voucher_keys = [\"{KEY}\"]\n"),
            "programme",
            call!(ProgrammeServiceClient, get_programme, GetProgrammeRequest { name: nobody("programmes") }),
            call!(
                ProgrammeServiceClient,
                activate_programme,
                ActivateProgrammeRequest { name: nobody("programmes"), ..Default::default() }
            )
        );
        let (edge, token) = edge(&names, folder.path()).await;
        let caller = Bearer::patient(&edge.address().to_string(), &token);
        Self { caller, held, _kept: Box::new((edge, folder, kept)) }
    }

    /// Two calls of each service are on their way, the second one of them a mutation.
    async fn call(&mut self, read: Duration, mutation: Duration) -> Vec<JoinHandle<Result<(), Status>>> {
        let mut calls = Vec::new();
        for held in &self.held {
            calls.push(detached((held.read)(self.caller.clone(), read)));
            calls.push(detached((held.mutation)(self.caller.clone(), mutation)));
        }
        for held in &mut self.held {
            eventually(held.service, async || held.working().await == 2).await;
        }
        calls
    }

    /// Nothing is done for anybody any more.
    async fn rest(&mut self) {
        for held in &mut self.held {
            eventually(held.service, async || held.working().await == 0).await;
        }
    }
}

/// Nobody but callers looks into the tables.
fn quiet<C>(settings: &mut Settings<C>) {
    settings.database.lock_timeout = NEVER;
    settings.telemetry.figures_interval = NEVER;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_service_works_for_a_caller_whose_deadline_has_passed() {
    let mut suite = Suite::start().await;
    let calls = suite.call(SHORT, SHORT).await;
    for answer in join_all(calls).await {
        answer.unwrap().unwrap_err();
    }
    suite.rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_service_works_for_a_caller_who_has_hung_up() {
    // A mutation is carried through without its caller, but not beyond its own deadline.
    let mut suite = Suite::start().await;
    let begin = Instant::now();
    for call in suite.call(LONG, SHORT).await {
        call.abort();
    }
    suite.rest().await;
    assert!(begin.elapsed() < LONG, "it was the deadline that ended it");
}
