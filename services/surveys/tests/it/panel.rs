//! A served surveys service, its authors and the customers who are asked.

use std::time::Duration;

use cqm_proto::events::v1 as events;
use cqm_proto::surveys::v1::invitation_service_client::InvitationServiceClient;
use cqm_proto::surveys::v1::questionnaire_service_client::QuestionnaireServiceClient;
use cqm_proto::surveys::v1::response_service_client::ResponseServiceClient;
use cqm_proto::surveys::v1::*;
use cqm_rpc::Role;
use cqm_surveys::{App, Config};
use cqm_testkit::{Kit, Line, request, until};
pub use cqm_testkit::{manager, persistent, refused, request_id, violations};
use diesel_async::{AsyncConnection, AsyncPgConnection};
use secrecy::ExposeSecret;
use tonic::Request;
use uuid::Uuid;

pub const CUSTOMER: &str = "customers/01890a5d-ac96-774b-bcce-b302099a8058";
pub const COMPLAINT: &str = "complaints/01890a5d-ac96-774b-bcce-b302099a8059";
/// Well formed, and nobody's.
pub const NOBODY: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
/// The questionnaire that every installation has.
pub const SEEDED: &str = "questionnaires/019b76da-a800-7000-8000-000000000001";
pub const PUBLIC_URL: &str = "https://answers.example/#";

/// Longer than any test takes.
pub const NEVER: Duration = Duration::from_secs(24 * 60 * 60);
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub struct Panel {
    pub kit: Kit,
    pub questionnaires: QuestionnaireServiceClient<Line>,
    pub invitations: InvitationServiceClient<Line>,
    pub responses: ResponseServiceClient<Line>,
}

impl Panel {
    /// The expiry does not come by.
    pub async fn open() -> Self {
        Self::with_expiry_every(NEVER).await
    }

    pub async fn with_expiry_every(expiry_interval: Duration) -> Self {
        let config = Config {
            public_url: PUBLIC_URL.to_owned(),
            token_keys: vec!["0123456789abcdef0123456789abcdef".to_owned().into()],
            expiry_interval,
        };
        let kit = Kit::start::<App>(config).await;
        Self {
            questionnaires: QuestionnaireServiceClient::new(kit.channel.clone()),
            invitations: InvitationServiceClient::new(kit.channel.clone()),
            responses: ResponseServiceClient::new(kit.channel.clone()),
            kit,
        }
    }

    /// A draft.
    pub async fn drafted(&self, content: Questionnaire) -> Questionnaire {
        let message = CreateQuestionnaireRequest { questionnaire: Some(content), ..Default::default() };
        self.questionnaires.clone().create_questionnaire(manager(message)).await.unwrap().into_inner()
    }

    /// A published questionnaire; its event has been looked at.
    pub async fn published(&mut self, content: Questionnaire) -> Questionnaire {
        let draft = self.drafted(content).await;
        let answer = self.questionnaires.publish_questionnaire(manager(publish(&draft.name))).await;
        self.kit.events.only::<events::QuestionnairePublished>().await;
        answer.unwrap().into_inner()
    }

    /// An invitation; its event has been looked at.
    pub async fn invited(&mut self, message: CreateInvitationRequest) -> Invitation {
        let answer = self.invitations.create_invitation(manager(message)).await;
        self.kit.events.only::<events::InvitationCreated>().await;
        answer.unwrap().into_inner()
    }

    /// A customer nobody has asked yet is invited to answer the questionnaire.
    pub async fn invited_to(&mut self, questionnaire: &str) -> Invitation {
        self.invited(CreateInvitationRequest { customer: any_customer(), ..invite_to(questionnaire) }).await
    }

    pub async fn token(&self, invitation: &str) -> String {
        let message = GetInvitationLinkRequest { name: invitation.to_owned() };
        let answer = self.invitations.clone().get_invitation_link(request(Role::Coordinator, message)).await;
        answer.unwrap().into_inner().token
    }

    /// A response; its event is returned.
    pub async fn answered(
        &mut self,
        invitation: &str,
        answers: Vec<Answer>,
    ) -> (SubmitResponseResponse, events::ResponseAccepted) {
        let message = submit(&self.token(invitation).await, answers);
        let answer = self.responses.submit_response(customer(message)).await.unwrap().into_inner();
        let (event, payload) = self.kit.events.only::<events::ResponseAccepted>().await;
        assert_eq!((event.aggregate.as_str(), event.aggregate_version), (answer.response.as_str(), 1));
        (answer, payload)
    }

    pub async fn invitation(&self, name: &str) -> Invitation {
        let message = GetInvitationRequest { name: name.to_owned() };
        self.invitations.clone().get_invitation(manager(message)).await.unwrap().into_inner()
    }

    pub async fn response(&self, name: &str) -> Response {
        let message = GetResponseRequest { name: name.to_owned() };
        self.responses.clone().get_response(manager(message)).await.unwrap().into_inner()
    }

    /// The row of a resource in its table.
    pub async fn row(&self, name: &str) -> serde_json::Value {
        let (table, _) = name.split_once('/').unwrap();
        self.kit.row(table, name).await
    }

    /// A connection past the service.
    pub async fn connection(&self) -> AsyncPgConnection {
        AsyncPgConnection::establish(self.kit.database().url.expose_secret()).await.unwrap()
    }

    /// Waits until the invitation is in the state.
    pub async fn until(&self, name: &str, state: invitation::State) -> Invitation {
        until(&format!("{name} is {}", state.as_str_name()), async || {
            Some(self.invitation(name).await).filter(|found| found.state() == state)
        })
        .await
    }
}

/// Whoever has the link, as the gateway passes them on.
pub fn customer<M>(message: M) -> Request<M> {
    request(Role::Customer, message)
}

pub fn any_customer() -> String {
    format!("customers/{}", Uuid::now_v7())
}

pub fn text(words: &str) -> Option<LocalizedText> {
    Some(LocalizedText { texts: [("en".to_owned(), words.to_owned())].into() })
}

pub fn question(id: &str, required: bool, kind: question::Kind) -> Question {
    Question { id: id.to_owned(), prompt: text("What do you say?"), required, kind: Some(kind) }
}

pub fn choices(ids: &[&str]) -> Vec<Choice> {
    ids.iter().map(|id| Choice { id: (*id).to_owned(), label: text(id) }).collect()
}

/// One question of each kind, the rating required.
pub fn every_kind() -> Questionnaire {
    Questionnaire {
        purpose: Purpose::Satisfaction.into(),
        title: text("How was it?"),
        questions: vec![
            question(
                "one",
                false,
                question::Kind::SingleChoice(SingleChoice { choices: choices(&["a", "b"]) }),
            ),
            question(
                "some",
                false,
                question::Kind::MultipleChoice(MultipleChoice {
                    choices: choices(&["x", "y", "z"]),
                    max_choices: 2,
                    ..Default::default()
                }),
            ),
            question("rate", true, question::Kind::Rating(Rating { scale_max: 5, ..Default::default() })),
            question("nps", false, question::Kind::Nps(Nps::default())),
            question("words", false, question::Kind::FreeText(FreeText { max_length: 10 })),
        ],
        ..Default::default()
    }
}

pub fn create(questionnaire: Questionnaire) -> CreateQuestionnaireRequest {
    CreateQuestionnaireRequest { questionnaire: Some(questionnaire), ..Default::default() }
}

pub fn publish(name: &str) -> PublishQuestionnaireRequest {
    PublishQuestionnaireRequest { name: name.to_owned(), ..Default::default() }
}

pub fn invite_to(questionnaire: &str) -> CreateInvitationRequest {
    CreateInvitationRequest {
        customer: CUSTOMER.to_owned(),
        target: Some(create_invitation_request::Target::Questionnaire(questionnaire.to_owned())),
        ..Default::default()
    }
}

/// About the second resolution of a complaint.
pub fn invite_about_complaint() -> CreateInvitationRequest {
    CreateInvitationRequest {
        customer: CUSTOMER.to_owned(),
        target: Some(create_invitation_request::Target::Purpose(Purpose::ComplaintHandling.into())),
        subject: COMPLAINT.to_owned(),
        subject_version: 2,
        ..Default::default()
    }
}

pub fn answer(question_id: &str, value: answer::Value) -> Answer {
    Answer { question_id: question_id.to_owned(), value: Some(value) }
}

pub fn rating(question_id: &str, value: i32) -> Answer {
    answer(question_id, answer::Value::Rating(value))
}

pub fn picks(question_id: &str, ids: &[&str]) -> Answer {
    let ids = ids.iter().map(|id| (*id).to_owned()).collect();
    answer(question_id, answer::Value::Choices(Choices { ids }))
}

pub fn submit(token: &str, answers: Vec<Answer>) -> SubmitResponseRequest {
    SubmitResponseRequest { token: token.to_owned(), answers, ..Default::default() }
}
