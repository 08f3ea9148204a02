use std::collections::VecDeque;

use super::*;

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(second, 0).unwrap()
}

fn number(bytes: &[u8]) -> Result<u32, BoxError> {
    Ok(std::str::from_utf8(bytes)?.parse()?)
}

#[tokio::test]
async fn a_changed_file_is_in_force_after_the_next_look_and_a_broken_one_never() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("number");
    let write = |text: &str| {
        let next = folder.path().join("next");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(next, &path).unwrap();
    };
    write("1");
    let watched = Watched::file(path.clone(), Duration::from_secs(10), at(0), number).unwrap();
    write("2");
    assert_eq!(*watched.current(at(9)).await, 1);
    assert_eq!(*watched.current(at(10)).await, 2);
    // Somebody misses something: sooner, and not for everybody who does.
    write("3");
    assert_eq!((*watched.current(at(11)).await, *watched.latest(at(11)).await), (2, 3));
    write("4");
    assert_eq!((*watched.latest(at(11)).await, *watched.latest(at(12)).await), (3, 4));
    write("five");
    assert_eq!(*watched.current(at(30)).await, 4);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(*watched.current(at(60)).await, 4);
    write("6");
    assert_eq!(*watched.current(at(90)).await, 6);
    // However long nobody looks.
    assert_eq!(*watched.value(), 6);
}

#[tokio::test]
async fn a_file_that_says_the_same_again_is_the_same_value() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("number");
    std::fs::write(&path, "1").unwrap();
    let watched = Watched::file(path.clone(), Duration::from_secs(10), at(0), number).unwrap();
    let first = watched.value();
    for (second, text) in [(10, "1"), (20, "one"), (30, "1")] {
        std::fs::write(&path, text).unwrap();
        assert!(Arc::ptr_eq(&watched.current(at(second)).await, &first), "{text} at {second}");
    }
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let parse = |_: &[u8]| Ok(());
    let error = Watched::file("/nowhere/keys".into(), Duration::ZERO, DateTime::UNIX_EPOCH, parse);
    assert!(error.unwrap_err().to_string().starts_with("/nowhere/keys: "));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("number");
    std::fs::write(&path, "one").unwrap();
    let error = Watched::file(path.clone(), Duration::ZERO, DateTime::UNIX_EPOCH, number).unwrap_err();
    assert!(error.to_string().starts_with(&format!("{}: ", path.display())), "{error}");
}

#[test]
fn two_files_are_not_one_that_is_cut_elsewhere() {
    let pieces =
        |texts: &[&'static str]| digest(&texts.iter().map(|text| (*text).into()).collect::<Vec<_>>());
    assert_ne!(pieces(&["ab", "c"]), pieces(&["a", "bc"]));
    assert_ne!(pieces(&["ab", ""]), pieces(&["ab"]));
    assert_eq!(pieces(&["ab", "c"]), pieces(&["ab", "c"]));
}

/// Answers what it was told to, one after the other, and then nothing.
struct Script(Mutex<VecDeque<&'static str>>);

impl Source for Script {
    const RECOVERS: bool = true;

    fn name(&self) -> String {
        "a script".to_owned()
    }

    async fn read(&self) -> Result<Vec<Bytes>, BoxError> {
        let next = self.0.lock().unwrap().pop_front();
        Ok(vec![next.ok_or("there is no answer")?.into()])
    }
}

#[tokio::test]
async fn what_the_source_does_not_confirm_is_tried_again_sooner_and_ends_with_its_limit() {
    let pauses = Pauses {
        every: Duration::from_secs(100),
        retry: Duration::from_secs(10),
        asked: Duration::from_secs(10),
        outage_limit: Duration::from_secs(1000),
    };
    let script = Script(Mutex::new(["1", "2"].into()));
    let watched = Watched::new(script, pauses, |contents| number(&contents[0]));
    assert!(watched.usable(at(0)).is_none(), "nothing is read yet");
    assert!(watched.is_due(at(0)) && !watched.is_due(at(0)));
    assert_eq!(*watched.look(at(0)).await.unwrap(), 1);
    assert!(!watched.is_due(at(99)) && watched.is_due(at(100)));
    assert_eq!(*watched.look(at(100)).await.unwrap(), 2);
    assert!(watched.look(at(200)).await.is_err());
    assert!(!watched.is_due(at(209)) && watched.is_due(at(210)));
    assert_eq!(watched.usable(at(1099)).as_deref(), Some(&2));
    assert!(watched.usable(at(1100)).is_none());
    assert!(watched.latest_usable(at(1101)).await.is_none());
}
