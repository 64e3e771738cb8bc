//! The `seamio` binary. What its commands do is in `seamio::cli`.

fn main() -> std::process::ExitCode {
    seamio::cli::run()
}
