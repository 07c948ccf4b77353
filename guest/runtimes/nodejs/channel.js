// The connection to the guest agent; `guest/runtimes/README.md` describes the protocol.
'use strict';

const net = require('node:net');

const FILE = 3;
const SIZES_BYTES = 8;

class Channel {
  constructor() {
    this._socket = new net.Socket({ fd: FILE, readable: true, writable: true });
    // The agent is gone; the end of the messages says so too.
    this._socket.on('error', () => {});
  }

  send(header, body = Buffer.alloc(0)) {
    const text = Buffer.from(JSON.stringify(header));
    const sizes = Buffer.alloc(SIZES_BYTES);
    sizes.writeUInt32BE(text.length, 0);
    sizes.writeUInt32BE(body.length, 4);
    this._socket.cork();
    this._socket.write(sizes);
    this._socket.write(text);
    if (body.length > 0) this._socket.write(body);
    this._socket.uncork();
  }

  async *messages() {
    let chunks = [];
    let available = 0;
    let wanted = SIZES_BYTES;
    let sizes = null;
    for await (const chunk of this._socket) {
      chunks.push(chunk);
      available += chunk.length;
      while (available >= wanted) {
        const data = chunks.length === 1 ? chunks[0] : Buffer.concat(chunks);
        const part = data.subarray(0, wanted);
        chunks = [data.subarray(wanted)];
        available -= wanted;
        if (sizes === null) {
          sizes = { header: part.readUInt32BE(0), body: part.readUInt32BE(4) };
          wanted = sizes.header + sizes.body;
        } else {
          const header = JSON.parse(part.subarray(0, sizes.header).toString());
          const body = part.subarray(sizes.header);
          sizes = null;
          wanted = SIZES_BYTES;
          yield { header, body };
        }
      }
    }
  }
}

module.exports = { Channel };
