//! `cqm-gateway serve | coordinate | check`

fn main() -> std::process::ExitCode {
    cqm_gateway::process::main()
}
