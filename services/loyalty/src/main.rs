//! The loyalty service's process.

fn main() -> std::process::ExitCode {
    cqm_runtime::process::main::<cqm_loyalty::App>()
}
