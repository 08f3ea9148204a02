//! The tables of who may do what and see what, as the program prints them.

use std::process::{Command, Output};

use cqm_proto::options::v1::PersonalKind;
use cqm_proto::policy;
use cqm_rpc::{Role, role_name};

use crate::counter::{complained, said};

/// `cqm policy` where there is nothing: no gateway, no key, no setting.
fn command() -> (Command, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cqm"));
    command.arg("policy").env_clear().current_dir(folder.path());
    (command, folder)
}

fn cells(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[test]
fn every_method_and_every_kind_of_data_stands_under_every_role_as_in_the_contract() {
    let (mut command, _folder) = command();
    let output: Output = command.output().unwrap();
    assert!(output.status.success() && complained(&output).is_empty(), "{output:?}");
    let (methods, disclosures) = said(&output).split_once("\n\n").expect("two tables");

    let mut lines = methods.lines();
    let head = cells(lines.next().unwrap());
    let roles: Vec<Role> = (1..).map_while(|number| Role::try_from(number).ok()).collect();
    let names: Vec<&str> = roles.iter().map(|role| role_name(*role)).collect();
    assert_eq!(head[3..3 + roles.len()], names);
    let rows: Vec<Vec<&str>> = lines.map(cells).collect();
    assert_eq!(rows.len(), policy::all().len());
    for (row, policy) in rows.iter().zip(policy::all()) {
        let yes = |yes| if yes { "yes" } else { "-" };
        let mut expected =
            vec![policy.path.trim_start_matches('/'), yes(policy.retry_safe), yes(!policy.read_only)];
        expected.extend(roles.iter().map(|role| yes(policy.roles.contains(role))));
        assert_eq!(row[..3 + roles.len()], expected);
        // What an answer may hold, or that it holds nothing of anybody.
        let personal = policy.personal.iter().count();
        assert_eq!(row.len() - expected.len(), personal.max(1), "{row:?}");
    }

    let mut lines = disclosures.lines();
    assert_eq!(cells(lines.next().unwrap())[2..], names);
    let kinds: Vec<PersonalKind> = (1..).map_while(|number| PersonalKind::try_from(number).ok()).collect();
    let rows: Vec<Vec<&str>> = lines.map(cells).collect();
    assert_eq!(rows.len(), kinds.len());
    for (row, kind) in rows.iter().zip(kinds) {
        assert_eq!(format!("PERSONAL_KIND_{}", row[0].to_ascii_uppercase()), kind.as_str_name());
        for (seen, role) in row[1..].iter().zip(&roles) {
            let rights = policy::rights(&[*role]);
            let (clear, purpose) = (rights.clear.has(kind), rights.purpose.has(kind));
            assert_eq!((*seen == "clear", *seen == "never"), (clear, !clear && !purpose), "{role:?} {row:?}");
        }
        assert_eq!(row.len(), 1 + roles.len());
    }
}

#[test]
fn whoever_has_seen_enough_of_the_tables_may_close_them() {
    // As `cqm policy | head -1` does, at the worst of moments.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let (mut command, _folder) = command();
    let output = command.stdout(writer).output().unwrap();
    assert!(output.status.success() && complained(&output).is_empty(), "{output:?}");
}
