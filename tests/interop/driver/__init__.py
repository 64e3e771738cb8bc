"""What tests/interop/run and benches/commit_path/run share: coordinators, client builds, tools and the tally."""
