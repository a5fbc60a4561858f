'use strict';
// An export of the zoo, loaded by tfjs-node.

const tf = require('@tensorflow/tfjs-node');

// The types of the zoo's inputs: what tfjs calls them, what is a value, and which a missing one.
const TYPES = {
  DT_STRING: { dtype: 'string', missing: '', holds: (value) => typeof value === 'string' },
  DT_FLOAT: { dtype: 'float32', missing: NaN, holds: (value) => typeof value === 'number' },
  DT_INT32: { dtype: 'int32', missing: 0, holds: (value) => value === (value | 0) },
};

/** What is wrong with a request: there is no such thing (404), or it takes other inputs (400). */
class RequestError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

class Model {
  /** Loads a version's folder, and asks each signature once: the first time takes longest. */
  static async load(path) {
    const graphs = await tf.node.getMetaGraphsFromSavedModel(path);
    const graph = graphs.find(({ tags }) => tags.includes('serve'));
    if (!graph) throw new Error(`${path} is not made for serving: it lacks the tag serve`);
    const model = new Model();
    for (const name of Object.keys(graph.signatureDefs)) {
      // They share one session.
      const loaded = await tf.node.loadSavedModel(path, graph.tags, name);
      model._signatures.set(name, { loaded, inputs: readInputs(graph.signatureDefs[name].inputs) });
      model.answer(name, makeNothing(model.inputs(name)));
    }
    return model;
  }

  constructor() {
    this._signatures = new Map();
  }

  /** The names of the signatures. */
  get signatures() {
    return [...this._signatures.keys()].sort();
  }

  /** The type and the shape of each input of a signature; null: any size. */
  inputs(signature) {
    return this._signatures.get(signature).inputs;
  }

  /** Returns the outputs by name. Inputs are lists of rows, in which null is a missing value. */
  answer(signature, inputs) {
    const found = this._signatures.get(signature);
    if (!found) {
      throw new RequestError(404, `there is no signature ${signature}, only ${this.signatures}`);
    }
    const names = Object.keys(found.inputs).sort();
    if (inputs === null || String(Object.keys(inputs).sort()) !== String(names)) {
      throw new RequestError(400, `${signature} takes an object with the inputs ${names}`);
    }
    if (names.some((name) => inputs[name]?.length !== inputs[names[0]]?.length)) {
      throw new RequestError(400, `all inputs of ${signature} must have as many rows`);
    }
    return tf.tidy(() => {
      const tensors = {};
      for (const name of names) tensors[name] = makeTensor(name, inputs[name], found.inputs[name]);
      const outputs = Object.entries(found.loaded.predict(tensors));
      return Object.fromEntries(outputs.map(([name, tensor]) => [name, tensor.arraySync()]));
    });
  }
}

function readInputs(infos) {
  const inputs = {};
  for (const [name, { tfDtype, shape }] of Object.entries(infos)) {
    if (!TYPES[tfDtype]) throw new Error(`input ${name} is ${tfDtype}, as in no model of the zoo`);
    const sizes = shape.map((dim) => (dim.getSize() < 0 ? null : dim.getSize()));
    inputs[name] = { type: tfDtype, sizes };
  }
  return inputs;
}

/** Returns a row of missing values for each input. */
function makeNothing(inputs) {
  const rows = Object.entries(inputs).map(([name, { sizes }]) => [
    name,
    sizes.length === 1 ? [null] : [new Array(sizes[1] ?? 1).fill(null)],
  ]);
  return Object.fromEntries(rows);
}

/** Returns the tensor of an input; sessions are filled up to the length of the longest one. */
function makeTensor(name, rows, { type, sizes }) {
  const { dtype, missing, holds } = TYPES[type];
  const refuse = () => {
    const what = `${dtype} [${sizes.map((size) => size ?? 'any').join(', ')}]`;
    const got = JSON.stringify(rows).slice(0, 200);
    throw new RequestError(400, `input ${name} takes rows of ${what}, got ${got}`);
  };
  const asValue = (value) => {
    if (value !== null && !holds(value)) refuse();
    return value ?? missing;
  };
  if (!Array.isArray(rows) || rows.length === 0) refuse();
  if (sizes.length === 1) return tf.tensor(rows.map(asValue), [rows.length], dtype);
  if (!rows.every(Array.isArray)) refuse();
  // A session without an item is one of a missing item.
  const width = sizes[1] ?? rows.reduce((longest, row) => Math.max(longest, row.length), 1);
  const values = [];
  for (const row of rows) {
    if (sizes[1] !== null && row.length !== width) refuse();
    for (let column = 0; column < width; column++) values.push(asValue(row[column] ?? null));
  }
  return tf.tensor(values, [rows.length, width], dtype);
}

module.exports = { Model, RequestError };
