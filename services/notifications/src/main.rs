//! The process: `notifications serve | migrate | check`.

fn main() -> std::process::ExitCode {
    cqm_runtime::process::main::<cqm_notifications::App>()
}
