// The life of a container's first process: blank, loaded, then one invocation after another, or several at once.
//
// It is started with a heap limit as large as the VM's memory, as nobody knows yet what its function will get, so that a
// function that uses too much is always killed by the container's limit, and told apart from one that aborts.
'use strict';

const Module = require('node:module');
const { Channel } = require('./channel.js');
const { Context } = require('./context.js');
const { describe, printToLog } = require('./failures.js');
const { decodeEvent, encodeResponse, findHandler } = require('./function.js');
const { collectOften } = require('./heap.js');
const { reseed } = require('./randomness.js');
const { Sharing } = require('./sharing.js');

// Modules that functions often load. They are here before the code is, and so cost the function no time.
for (const name of ['crypto', 'events', 'fs/promises', 'http', 'https', 'stream', 'url', 'util', 'zlib']) require(name);

let failCurrent = null;
let sharing = null;

process.on('uncaughtException', (error) => {
  if (failCurrent !== null) {
    failCurrent(error);
  } else if (!sharing?.failCurrent(error)) {
    printToLog(error);
    process.exit(1);
  }
});

async function load(message) {
  Object.assign(process.env, message.environment);
  reseed();
  collectOften(message.memory_limit_mib);
  process.chdir(message.code);
  findLayers(message.layers ?? '');
  return findHandler(message.code, message.handler);
}

// Makes modules of layers found, and their commands.
function findLayers(layers) {
  if (layers === '') return;
  process.env.PATH = [process.env.PATH, `${layers}/bin`].filter(Boolean).join(':');
  process.env.NODE_PATH = [process.env.NODE_PATH, `${layers}/nodejs/node_modules`].filter(Boolean).join(':');
  Module._initPaths();
}

async function invoke(handler, loaded, message, payload, signal = new AbortController().signal) {
  const event = decodeEvent(payload, message.content_type);
  const result = await handler(event, new Context(loaded, message, signal));
  return encodeResponse(result, message.max_response_bytes);
}

// What `work` gives, unless an error that nobody catches comes first: that is an error of what is under way.
function orUncaught(work) {
  return new Promise((resolve, reject) => {
    failCurrent = reject;
    work().then(resolve, reject);
  }).finally(() => {
    failCurrent = null;
  });
}

// Runs an invocation while others run, and answers.
function invokeAmongOthers(channel, handler, loaded, message, payload) {
  const id = message.invocation_id;
  return sharing.run(id, async ({ failed, signal }) => {
    try {
      const { contentType, response } = await Promise.race([failed, invoke(handler, loaded, message, payload, signal)]);
      channel.send({ type: 'result', invocation_id: id, content_type: contentType }, response);
    } catch (error) {
      printToLog(error);
      channel.send({ ...describe(error, loaded.code), invocation_id: id });
    }
  });
}

async function main() {
  const channel = new Channel();
  channel.send({ type: 'ready' });
  let loaded = null;
  let handler = null;
  for await (const { header, body } of channel.messages()) {
    try {
      if (header.type === 'load') {
        loaded = header;
        if (header.concurrency > 1) {
          sharing = new Sharing(channel);
          sharing.attributeOutput();
        }
        handler = await orUncaught(() => load(header));
        channel.send({ type: 'loaded' });
      } else if (header.type === 'cancel') {
        sharing?.cancel(header.invocation_id);
      } else if (sharing !== null) {
        invokeAmongOthers(channel, handler, loaded, header, body);
      } else {
        const { contentType, response } = await orUncaught(() => invoke(handler, loaded, header, body));
        channel.send({ type: 'result', content_type: contentType }, response);
      }
    } catch (error) {
      printToLog(error);
      channel.send(describe(error, loaded.code));
    }
  }
  process.exit(0);
}

main();
