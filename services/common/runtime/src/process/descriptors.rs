//! How many files and connections the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Takes as many descriptors as the process is allowed to: the soft limit that most shells and systems give (1024, for
/// the sake of programs that use `select`) is a tenth of the connections that a server takes.
pub(super) fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(error = %error, descriptors = current, "the limit of open files cannot be raised");
    }
}
