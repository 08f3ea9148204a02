//! The process: `cqm-surveys serve | migrate | check`.

fn main() -> std::process::ExitCode {
    cqm_runtime::process::main::<cqm_surveys::App>()
}
