"""ttrpc, protobuf calls over any byte stream, as the host agent and the guest agent speak it over virtio-serial."""
