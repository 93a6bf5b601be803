// SPDX-License-Identifier: Apache-2.0
//
// Has the official parser judge AsyncAPI documents: node validate.js FILE COUNTS GOOD BAD
// FILE and GOOD must have no error, BAD one. COUNTS is "channels operations messages" of FILE as the test counted them.
'use strict';

const fs = require('node:fs');
const { Parser, DiagnosticSeverity } = require('@asyncapi/parser');

async function judge(parser, file) {
  const { document, diagnostics } = await parser.parse(fs.readFileSync(file, 'utf8'));
  const errors = diagnostics.filter((found) => found.severity === DiagnosticSeverity.Error);
  return { document, errors: errors.map(({ code, message, path }) => `${code}: ${message} at ${path.join('/')}`) };
}

async function main() {
  const [file, expected, good, bad] = process.argv.slice(2);
  const parser = new Parser();
  const [first, second, third] = [await judge(parser, file), await judge(parser, good), await judge(parser, bad)];
  const errors = [...first.errors, ...second.errors];
  if (errors.length > 0) throw new Error(errors.join('\n'));
  if (third.errors.length === 0) throw new Error('the parser took a document with an unknown action');
  const { document } = first;
  const counts = [document.channels(), document.operations(), document.components().messages()].map((all) => all.length);
  const payloads = document.components().messages().all().filter((message) => message.hasPayload());
  if (payloads.length !== counts[2]) throw new Error('a message has no payload');
  if (counts.join(' ') !== expected) throw new Error(`${counts.join(' ')}, expected ${expected}`);
}

main().catch((trouble) => {
  console.error(trouble.message);
  process.exit(1);
});
