//! Who may ask the gateway what the suite's API looks like.

use cqm_rpc::{Role, role_from_name, role_name};
use cqm_runtime::config::{ConfigError, Validate};
use serde::Deserialize;

/// The `[service.reflection]` section.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReflectionConfig {
    /// A caller needs one of them.
    pub roles: Vec<String>,
}

impl ReflectionConfig {
    pub fn roles(&self) -> Vec<Role> {
        self.roles.iter().filter_map(|name| role_from_name(name)).collect()
    }
}

impl Default for ReflectionConfig {
    /// What `gateway.toml` says: everybody who has a token of their own.
    fn default() -> Self {
        let roles = [
            Role::ServiceManager,
            Role::ServiceRepresentative,
            Role::TechnicalSupport,
            Role::AfterSales,
            Role::CrmSpecialist,
            Role::Supervisor,
            Role::InternalService,
        ];
        Self { roles: roles.map(|role| role_name(role).to_owned()).into() }
    }
}

impl Validate for ReflectionConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        if self.roles.iter().any(|name| role_from_name(name).is_none()) {
            return Err(ConfigError::refused("service.reflection.roles", "must name roles of the contract"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_that_does_not_exist_is_refused() {
        assert!(ReflectionConfig::default().validate().is_ok());
        assert!(ReflectionConfig { roles: vec!["root".to_owned()] }.validate().is_err());
        assert!(ReflectionConfig { roles: Vec::new() }.roles().is_empty());
    }
}
