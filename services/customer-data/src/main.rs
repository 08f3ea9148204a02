//! `customer-data serve | migrate | check`

fn main() -> std::process::ExitCode {
    cqm_runtime::process::main::<cqm_customer_data::App>()
}
