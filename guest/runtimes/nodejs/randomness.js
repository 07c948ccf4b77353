// Fresh randomness for a process that may be a copy.
'use strict';

const fs = require('node:fs');
const v8 = require('node:v8');

// `Math.random` takes its seed when it is first called, which nothing has done before the function is loaded. The seed
// is read from the kernel: what `crypto` gives follows from a state that this process shares with its copies.
function reseed() {
  const seed = Buffer.alloc(4);
  const kernel = fs.openSync('/dev/urandom');
  fs.readSync(kernel, seed);
  fs.closeSync(kernel);
  v8.setFlagsFromString(`--random-seed=${(seed.readUInt32LE(0) >>> 1) || 1}`);
  Math.random();
  v8.setFlagsFromString('--random-seed=0');
}

module.exports = { reseed };
