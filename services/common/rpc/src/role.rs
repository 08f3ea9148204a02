//! The roles of the contract, as they stand in tokens and metadata.

pub use cqm_proto::options::v1::Role;

/// `ROLE_SERVICE_MANAGER` as `service_manager`: the spelling in tokens, metadata and commands.
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Unspecified => "unspecified",
        Role::ServiceManager => "service_manager",
        Role::ServiceRepresentative => "service_representative",
        Role::TechnicalSupport => "technical_support",
        Role::AfterSales => "after_sales",
        Role::CrmSpecialist => "crm_specialist",
        Role::Supervisor => "supervisor",
        Role::InternalService => "internal_service",
        Role::Coordinator => "coordinator",
        Role::Customer => "customer",
    }
}

/// The inverse of [`role_name`]. An unknown name is no role, never an error: it grants nothing.
pub fn role_from_name(name: &str) -> Option<Role> {
    let role = Role::from_str_name(&format!("ROLE_{}", name.to_ascii_uppercase()))?;
    (role != Role::Unspecified && role_name(role) == name).then_some(role)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_survives_the_way_through_metadata() {
        for number in 1..=9 {
            let role = Role::try_from(number).unwrap();
            assert_eq!(role_from_name(role_name(role)), Some(role));
        }
        assert_eq!(role_from_name("unspecified"), None);
        assert_eq!(role_from_name("SUPERVISOR"), None);
        assert_eq!(role_from_name("root"), None);
    }
}
