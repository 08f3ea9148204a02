//! Holds, read.

use cqm_proto::loyalty::v1 as proto;
use cqm_rpc::{Call, Error};

use super::convert::hold::{self as convert, List};
use crate::error::hold_not_found;
use crate::{App, store};

pub(super) async fn get_hold(
    app: &App,
    call: &Call,
    message: &proto::GetHoldRequest,
) -> Result<proto::Hold, Error> {
    let (customer, id) = convert::get(message)?;
    let hold = app
        .db
        .read(call, "get_hold", async |conn| match store::find_hold(conn, customer, id).await? {
            Some(hold) => Ok(hold),
            None => Err(super::missing(conn, customer, hold_not_found(customer, id)).await),
        })
        .await?;
    Ok(convert::hold(customer, &hold))
}

pub(super) async fn list_holds(
    app: &App,
    call: &Call,
    message: &proto::ListHoldsRequest,
) -> Result<proto::ListHoldsResponse, Error> {
    let query = List::parse(message)?;
    let holds = app
        .db
        .read(call, "list_holds", async |conn| {
            super::find_member(conn, query.customer).await?;
            store::list_holds(conn, query.customer, query.page.after, query.page.limit()).await
        })
        .await?;
    Ok(query.answer(holds))
}
