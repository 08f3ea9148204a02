//! What the services hold before they are measured.

use std::net::SocketAddr;

use cqm_proto::customers::v1::customer_service_client::CustomerServiceClient;
use cqm_proto::customers::v1::{Customer, Email, ImportCustomersRequest, ListCustomersRequest, Phone};
use cqm_proto::loyalty::v1::ledger_service_client::LedgerServiceClient;
use cqm_rpc::{BoxError, Clock, Role};
use cqm_testkit::{Line, request};
use cqm_tests::again;
use futures::{StreamExt, TryStreamExt, stream};
use uuid::Uuid;

use crate::calls::earn_points;

/// Imports customers as a shop has them, and returns their names.
pub async fn customers(address: SocketAddr, count: usize) -> Result<Vec<String>, BoxError> {
    let mut service = CustomerServiceClient::new(Line::to(address, "customer-data", Clock::system()).await);
    // Until the service is up; the import itself is not repeated.
    again(|| {
        let mut service = service.clone();
        async move {
            service
                .list_customers(request(Role::ServiceManager, ListCustomersRequest::default()))
                .await
        }
    })
    .await
    .map_err(|failure| format!("customers cannot be listed: {failure:?}"))?;
    let rows = (0..count).map(|row| ImportCustomersRequest {
        row: i64::try_from(row).expect("a row's number"),
        customer: Some(customer(row)),
        ..Default::default()
    });
    let mut answers = service
        .import_customers(request(Role::ServiceManager, stream::iter(rows.collect::<Vec<_>>())))
        .await?
        .into_inner();
    let mut names = Vec::with_capacity(count);
    while let Some(answer) = answers.message().await? {
        if answer.name.is_empty() {
            return Err(format!("row {} is refused: {:?}", answer.row, answer.error).into());
        }
        names.push(answer.name);
    }
    if names.len() == count {
        Ok(names)
    } else {
        Err(format!("{} of {count} rows were answered", names.len()).into())
    }
}

fn customer(row: usize) -> Customer {
    Customer {
        display_name: format!("Customer {row}"),
        emails: vec![Email { address: format!("customer-{row}@example.com"), primary: true }],
        phones: vec![Phone { number: format!("+86138{row:08}"), primary: true, ..Default::default() }],
        locale: "zh-CN".to_owned(),
        external_reference: format!("bench/{row}"),
        ..Default::default()
    }
}

/// Gives first points to customers, which makes them members, and returns their names.
pub async fn members(address: SocketAddr, count: usize) -> Result<Vec<String>, BoxError> {
    let service = LedgerServiceClient::new(Line::to(address, "loyalty", Clock::system()).await);
    stream::iter((0..count).map(|_| format!("customers/{}", Uuid::now_v7())))
        .map(|name| {
            let service = service.clone();
            async move {
                let earn = earn_points(&name);
                again(|| {
                    let (mut service, earn) = (service.clone(), request(Role::ServiceManager, earn.clone()));
                    async move { service.earn_points(earn).await }
                })
                .await
                .map(|_| name)
                .map_err(|failure| format!("points cannot be given: {failure:?}").into())
            }
        })
        .buffer_unordered(64)
        .try_collect()
        .await
}
