// How the handler failed, told in the handler's own frames.
'use strict';

const { inspect } = require('node:util');

class InvalidEvent extends Error {}
class InvalidResponse extends Error {}
class HandlerNotFound extends Error {}
class ResponseTooLarge extends Error {}
class Cancelled extends Error {}

const OWN = [InvalidEvent, InvalidResponse, HandlerNotFound, ResponseTooLarge, Cancelled];

// The message that tells the agent of an error. `code` is the directory of the function.
function describe(error, code) {
  return {
    type: 'failed',
    error_type: typeOf(error),
    message: messageOf(error),
    stack_trace: framesOf(error, code),
    is_too_large: error instanceof ResponseTooLarge,
  };
}

// Prints an error with its stack, and those of its causes, to standard error.
function printToLog(error) {
  const isOwn = OWN.some((kind) => error instanceof kind);
  try {
    process.stderr.write(`${isOwn ? `${typeOf(error)}: ${messageOf(error)}` : inspect(error)}\n`);
  } catch {
    // The function may have closed it, and what it throws may not like to be looked at.
  }
}

function typeOf(error) {
  if (!(error instanceof Error)) return 'Error';
  try {
    const named = String(error.name);
    return named !== 'Error' ? named : String(error.constructor.name);
  } catch {
    return 'Error';
  }
}

function messageOf(error) {
  try {
    if (error instanceof Error) return String(error.message);
    return typeof error === 'string' ? error : inspect(error);
  } catch {
    return "(its message can't be read)";
  }
}

// The stack, innermost last, from the first frame of the function on, without what the runtime put before it.
function framesOf(error, code) {
  let stack;
  try {
    stack = String(error.stack);
  } catch {
    return [];
  }
  const frames = stack
    .split('\n')
    .filter((line) => line.startsWith('    at '))
    .map((line) => line.trim())
    .reverse();
  const first = frames.findIndex((frame) => frame.includes(`${code}/`));
  return first < 0 ? [] : frames.slice(first);
}

module.exports = { Cancelled, HandlerNotFound, InvalidEvent, InvalidResponse, ResponseTooLarge, describe, printToLog };
