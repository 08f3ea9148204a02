//! What the services that have data of customers answer when something is to be done with it everywhere.

use std::collections::BTreeMap;

cqm_rpc::words! {
    /// Who has data of customers, by the name of the service.
    #[derive(Hash, PartialOrd, Ord)]
    pub enum Holder {
        Complaints = "complaints",
        CustomerData = "customer-data",
        Loyalty = "loyalty",
        Notifications = "notifications",
        Surveys = "surveys",
    }
}

/// How many records a service has done it with, by what they are.
pub type Receipt = BTreeMap<String, i64>;
