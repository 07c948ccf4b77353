// The function: found in its code; its event and its response.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { pathToFileURL } = require('node:url');
const { types } = require('node:util');
const { HandlerNotFound, InvalidEvent, InvalidResponse, ResponseTooLarge } = require('./failures.js');

const JSON_TYPE = 'application/json';
const BYTES_TYPE = 'application/octet-stream';
const ENDINGS = ['.js', '.mjs', '.cjs', '/index.js', '/index.mjs', '/index.cjs'];
const NEEDS_IMPORT = ['ERR_REQUIRE_ESM', 'ERR_REQUIRE_ASYNC_MODULE'];

// Loads the handler that `module.function` names; whatever loading throws is thrown.
async function findHandler(code, name) {
  const dot = name.lastIndexOf('.');
  const moduleName = name.slice(0, dot);
  const functionName = name.slice(dot + 1);
  if (dot < 1 || functionName === '') {
    throw new HandlerNotFound(`the handler '${name}' is not of the form module.function`);
  }
  const base = path.join(code, moduleName);
  const file = ENDINGS.map((ending) => base + ending).find((candidate) => fs.existsSync(candidate));
  if (file === undefined) {
    throw new HandlerNotFound(`the handler is ${name}, and the code has no ${moduleName}.js, .mjs or .cjs`);
  }
  const loaded = await loadModule(file);
  const handler = loaded[functionName] ?? loaded.default?.[functionName];
  if (typeof handler !== 'function') {
    throw new HandlerNotFound(`the handler is ${name}, and ${path.basename(file)} exports no function ${functionName}`);
  }
  return handler;
}

async function loadModule(file) {
  if (!file.endsWith('.mjs')) {
    try {
      return require(file);
    } catch (error) {
      if (!NEEDS_IMPORT.includes(error?.code)) throw error;
    }
  }
  return import(pathToFileURL(file).href);
}

function decodeEvent(payload, contentType) {
  if (!['', JSON_TYPE].includes(contentType.split(';')[0].trim().toLowerCase())) return payload;
  if (payload.length === 0) return {};
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(payload));
  } catch (error) {
    throw new InvalidEvent(
      `the event is not JSON (${error.message}); send JSON, or another content type than ${JSON_TYPE} to pass bytes`,
    );
  }
}

function encodeResponse(result, maxBytes) {
  const { contentType, response } = encode(result);
  if (response.length > maxBytes) {
    throw new ResponseTooLarge(
      `the handler returned ${response.length} bytes; at most ${maxBytes} may be. Return less, or a reference`,
    );
  }
  return { contentType, response };
}

function encode(result) {
  if (ArrayBuffer.isView(result)) {
    return { contentType: BYTES_TYPE, response: Buffer.from(result.buffer, result.byteOffset, result.byteLength) };
  }
  if (types.isAnyArrayBuffer(result)) return { contentType: BYTES_TYPE, response: Buffer.from(result) };
  let text;
  try {
    text = JSON.stringify(result === undefined ? null : result);
  } catch (error) {
    throw new InvalidResponse(`the handler returned what can't become JSON (${error.message}); return JSON's types, or bytes`);
  }
  if (text === undefined) {
    throw new InvalidResponse(`the handler returned a ${typeof result}, which can't become JSON; return JSON's types, or bytes`);
  }
  return { contentType: JSON_TYPE, response: Buffer.from(text) };
}

module.exports = { decodeEvent, encodeResponse, findHandler };
