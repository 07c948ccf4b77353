// What a handler is told beside its event.
'use strict';

class Context {
  #timeoutMs;
  #begun = process.hrtime.bigint();

  constructor(loaded, message, signal) {
    this.functionName = loaded.function_name;
    this.functionVersion = loaded.function_version;
    this.invocationId = message.invocation_id;
    this.tenant = loaded.tenant;
    this.memoryLimitMib = loaded.memory_limit_mib;
    this.logStream = loaded.log_stream;
    // The W3C trace context that the function's own spans belong under; empty for none.
    this.traceparent = message.traceparent;
    // Aborted when the invocation is cancelled; alone in its container, it is killed instead.
    this.signal = signal;
    this.#timeoutMs = message.timeout_ms;
  }

  // When the handler will be killed.
  get deadline() {
    return new Date(Date.now() + this.remainingMs());
  }

  // How many milliseconds the handler has left, never below 0.
  remainingMs() {
    return Math.max(0, this.#timeoutMs - Number((process.hrtime.bigint() - this.#begun) / 1000000n));
  }

  // The same, by the name that AWS Lambda has for it.
  getRemainingTimeInMillis() {
    return this.remainingMs();
  }
}

module.exports = { Context };
