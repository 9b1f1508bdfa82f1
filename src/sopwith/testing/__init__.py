"""What a test of Sopwith, or of an adapter for it, is built from: fakes that keep the promises, and contract suites."""
