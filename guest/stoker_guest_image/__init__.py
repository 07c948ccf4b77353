"""Builds the guest image: kernel, initramfs, root, guest agent, language runtimes."""
