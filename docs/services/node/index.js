'use strict';
// An HTTP service that answers from exports of the zoo.
//
//     node index.js --port=8080 gru4rec=served/1 dlrm=served_clicks/1
//
//     POST /<model>/<signature>    inputs by name -> outputs by name, in JSON
//     GET  /                       the models, their signatures and inputs
//
// An input is a list of rows: of sessions, which may be of several lengths, or of examples. null is
// a missing value; in an answer it is what is no number, the score -inf of an empty place.

const http = require('node:http');
const { parseArgs } = require('node:util');
const { Model, RequestError } = require('./model');

const MAX_BYTES = 2 ** 20;

async function readBody(request) {
  const tooLarge = new RequestError(413, `a request may have up to ${MAX_BYTES} bytes`);
  if (Number(request.headers['content-length']) > MAX_BYTES) throw tooLarge;
  const parts = [];
  let size = 0;
  for await (const part of request) {
    size += part.length;
    if (size > MAX_BYTES) throw tooLarge;
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

function parseBody(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new RequestError(400, error.message);
  }
}

async function answer(models, request) {
  const path = request.url.split('?')[0];
  if (request.method === 'GET' && path === '/') {
    return Object.fromEntries([...models].map(([name, model]) => [name, describe(model)]));
  }
  const [name, signature = ''] = path.slice(1).split(/\/(.*)/);
  if (request.method !== 'POST' || !models.has(name)) {
    throw new RequestError(404, `there is no model ${name}, only ${[...models.keys()]}`);
  }
  return models.get(name).answer(signature, parseBody(await readBody(request)));
}

function describe(model) {
  return Object.fromEntries(model.signatures.map((name) => [name, model.inputs(name)]));
}

function send(response, code, content) {
  // What is left of a body that was too large is not read.
  if (code === 413) response.setHeader('Connection', 'close');
  response.writeHead(code, { 'Content-Type': 'application/json' });
  response.end(JSON.stringify(content));
}

function serve(models, host, port) {
  const server = http.createServer(async (request, response) => {
    try {
      send(response, 200, await answer(models, request));
    } catch (error) {
      const isOfRequest = error instanceof RequestError;
      if (!isOfRequest) console.error(error);
      send(response, isOfRequest ? error.code : 500, { error: error.message });
    }
  });
  server.listen(port, host, () => {
    console.log(`listening on http://${host}:${server.address().port}`);
  });
}

async function main() {
  const options = {
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '8080' }, // 0: any that is free
  };
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  if (positionals.length === 0) throw new Error('which models? Pass NAME=EXPORT, a folder');
  const models = new Map();
  for (const text of positionals) {
    const [name, path = ''] = text.split(/=(.*)/);
    models.set(name, await Model.load(path));
  }
  serve(models, values.host, Number(values.port));
}

main().catch((error) => {
  console.error(`index.js: ${error.message}`);
  process.exitCode = 1;
});
