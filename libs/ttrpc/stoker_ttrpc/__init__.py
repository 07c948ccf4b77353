"""ttrpc frames, as they go over the virtio-serial port between host and guest."""
