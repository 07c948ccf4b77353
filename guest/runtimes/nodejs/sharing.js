// Several invocations at once: whose code runs is known by its asynchronous context, which promises and callbacks keep.
'use strict';

const { AsyncLocalStorage } = require('node:async_hooks');
const { Cancelled } = require('./failures.js');

const MOST_BYTES = 64 * 1024;

const running = new AsyncLocalStorage();

class Invocation {
  #controller = new AbortController();

  constructor(id) {
    this.id = id;
    // Rejected where it fails by something else than what its handler returns.
    this.failed = new Promise((_, reject) => {
      this.fail = reject;
    });
    this.failed.catch(() => {});
  }

  // Tells the handler when the invocation is cancelled.
  get signal() {
    return this.#controller.signal;
  }

  // Nothing can stop a promise: a cancelled invocation has failed, whatever its handler still does.
  cancel() {
    const reason = new Cancelled('the invocation was cancelled: it took too long, or nobody waits for it any more');
    this.fail(reason);
    running.run(this, () => this.#controller.abort(reason));
  }
}

class Sharing {
  #channel;
  #invocations = new Map();

  constructor(channel) {
    this.#channel = channel;
  }

  // Does all the work of an invocation, in its context.
  async run(id, work) {
    const invocation = new Invocation(id);
    this.#invocations.set(id, invocation);
    try {
      await running.run(invocation, () => work(invocation));
    } finally {
      this.#invocations.delete(id);
    }
  }

  cancel(id) {
    this.#invocations.get(id)?.cancel();
  }

  // Lets the invocation whose code threw an error that nobody catches fail by it; returns false where there is none.
  failCurrent(error) {
    const invocation = running.getStore();
    if (invocation === undefined || !this.#invocations.has(invocation.id)) return false;
    invocation.fail(error);
    return true;
  }

  // Sends what is printed in an invocation's context to the agent, told apart. What is printed outside of one, or past
  // `process.stdout` and `process.stderr`, goes into the pipes as it always does, and is the container's.
  attributeOutput() {
    for (const stream of ['stdout', 'stderr']) {
      const write = process[stream].write.bind(process[stream]);
      process[stream].write = (chunk, encoding, callback) => {
        const invocation = running.getStore();
        if (invocation === undefined) return write(chunk, encoding, callback);
        this.#send(invocation.id, stream, typeof chunk === 'string' ? Buffer.from(chunk, encodingOf(encoding)) : chunk);
        const done = typeof encoding === 'function' ? encoding : callback;
        if (typeof done === 'function') process.nextTick(done);
        return true;
      };
    }
  }

  #send(id, stream, bytes) {
    for (let begin = 0; begin < bytes.length; begin += MOST_BYTES) {
      const part = bytes.subarray(begin, begin + MOST_BYTES);
      this.#channel.send({ type: 'output', invocation_id: id, stream }, Buffer.from(part));
    }
  }
}

function encodingOf(encoding) {
  return typeof encoding === 'string' ? encoding : 'utf8';
}

module.exports = { Sharing };
