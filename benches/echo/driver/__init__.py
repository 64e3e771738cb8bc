"""The parts of `benches/echo/run`."""
