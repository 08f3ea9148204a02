//! Who may do what and see what, as the contracts that this binary was built with say it.

use cqm_proto::options::v1::PersonalKind;
use cqm_proto::policy::{self, MethodPolicy};
use cqm_rpc::{Role, role_name};

/// In the order of the contract.
fn roles() -> impl Iterator<Item = Role> {
    (1..).map_while(|number| Role::try_from(number).ok())
}

fn kinds() -> impl Iterator<Item = PersonalKind> {
    (1..).map_while(|number| PersonalKind::try_from(number).ok())
}

/// Both tables: methods by roles, and personal data by roles.
pub fn tables() -> String {
    format!("{}\n{}", methods(), disclosures())
}

fn methods() -> String {
    let mut rows = vec![["METHOD", "RETRY-SAFE", "MUTATION"].map(str::to_owned).to_vec()];
    rows[0].extend(roles().map(|role| role_name(role).to_owned()));
    rows[0].push("PERSONAL DATA IN THE ANSWER".to_owned());
    rows.extend(policy::all().iter().map(method));
    table(&rows)
}

fn method(policy: &MethodPolicy) -> Vec<String> {
    let mut row =
        vec![policy.path.trim_start_matches('/').to_owned(), yes(policy.retry_safe), yes(!policy.read_only)];
    row.extend(roles().map(|role| yes(policy.roles.contains(&role))));
    let personal: Vec<String> = policy.personal.iter().map(kind_name).collect();
    row.push(if personal.is_empty() { "-".to_owned() } else { personal.join(" ") });
    row
}

fn disclosures() -> String {
    let mut rows = vec![vec!["PERSONAL DATA".to_owned()]];
    rows[0].extend(roles().map(|role| role_name(role).to_owned()));
    for kind in kinds() {
        let mut row = vec![kind_name(kind)];
        row.extend(roles().map(|role| {
            let rights = policy::rights(&[role]);
            let seen = match (rights.clear.has(kind), rights.purpose.has(kind)) {
                (true, _) => "clear",
                (_, true) => "purpose",
                _ => "never",
            };
            seen.to_owned()
        }));
        rows.push(row);
    }
    table(&rows)
}

fn kind_name(kind: PersonalKind) -> String {
    kind.as_str_name().trim_start_matches("PERSONAL_KIND_").to_ascii_lowercase()
}

fn yes(yes: bool) -> String {
    if yes { "yes" } else { "-" }.to_owned()
}

/// Columns as wide as their widest cell, two spaces apart.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or_default())
        .collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(line: &str) -> Vec<&str> {
        line.split_whitespace().collect()
    }

    #[test]
    fn every_cell_of_methods_and_roles_is_the_contracts() {
        let text = methods();
        let mut lines = text.lines();
        let head = cells(lines.next().unwrap());
        assert_eq!(head[..4], ["METHOD", "RETRY-SAFE", "MUTATION", "service_manager"]);
        for (policy, line) in policy::all().iter().zip(lines.by_ref()) {
            let row = cells(line);
            assert_eq!(format!("/{}", row[0]), policy.path);
            assert_eq!((row[1] == "yes", row[2] == "yes"), (policy.retry_safe, !policy.read_only), "{line}");
            for (index, role) in roles().enumerate() {
                assert_eq!(head[3 + index], role_name(role));
                assert_eq!(row[3 + index] == "yes", policy.roles.contains(&role), "{line}");
            }
        }
        assert_eq!(lines.next(), None);
    }

    #[test]
    fn the_table_says_who_sees_what() {
        let text = tables();
        let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap();
        let get = cells(line("cqm.customers.v1.CustomerService/GetCustomer "));
        assert_eq!(get[get.len() - 5..], ["name", "phone", "email", "address", "attribute"]);
        assert_eq!(
            cells(line("phone ")),
            [
                "phone", "purpose", "purpose", "purpose", "purpose", "clear", "purpose", "clear", "clear",
                "never"
            ]
        );
    }
}
