"""The guest agent: PID 1 of a VM, which makes containers and runs invocations in them."""
