fn main() -> std::process::ExitCode {
    cqm_runtime::process::main::<cqm_complaints::App>()
}
