import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { context, problem, refused } from './stub.mjs';

const require = createRequire(import.meta.url);
const { request } = require('../dist/nodes/Tunesmith/transport.js');
const { asItem, problemOf } = require('../dist/nodes/Tunesmith/problems.js');
const soon = { 'retry-after': '0' };

test('an overloaded or restarting service is asked again', async () => {
	const caller = context([
		problem(429, {}, soon),
		problem(503, {}, soon),
		refused(),
		{ body: { ok: 1 } },
	]);
	assert.deepEqual(await request(caller, 'GET', '/v1/models'), { ok: 1 });
	assert.equal(caller.sent.length, 4);
	assert.equal(caller.sent[0].url, 'http://tunesmith:8765/v1/models');
	assert.equal(caller.sent[0].credential, 'tunesmithApi');
});

test('it gives up after four attempts', async () => {
	const caller = context([problem(503, {}, soon)]);
	await assert.rejects(request(caller, 'GET', '/v1/models'), { message: 'The model is away.' });
	assert.equal(caller.sent.length, 4);
});

test('a call that must not be done twice is repeated only when it was surely not done', async () => {
	const unsure = context([problem(502, {}, soon)]);
	await assert.rejects(request(unsure, 'POST', '/v1/models/m/rollback', { once: true }));
	assert.equal(unsure.sent.length, 1);
	const busy = context([problem(429, {}, soon), { body: { version: 'v1' } }]);
	await request(busy, 'POST', '/v1/models/m/rollback', { once: true });
	assert.equal(busy.sent.length, 2);
});

test('a wrong request is not repeated, and shows detail and hint', async () => {
	const caller = context([
		problem(404, { code: 'not_found', detail: 'No recipe x.', hint: 'Save it.', param: 'name' }),
	]);
	const error = await request(caller, 'GET', '/v1/recipes/x', { itemIndex: 2 }).catch(
		(caught) => caught,
	);
	assert.equal(caller.sent.length, 1);
	assert.deepEqual(
		[error.message, error.description, error.httpCode, error.context.itemIndex],
		['No recipe x.', 'Save it.', '404', 2],
	);
	assert.deepEqual(asItem(error), {
		error: 'No recipe x.',
		details: { code: 'not_found', status: 404, hint: 'Save it.', param: 'name' },
	});
});

test('an unreachable service is named with what to check', async () => {
	const caller = context([new TypeError('boom')]);
	const error = await request(caller, 'POST', '/v1/x', { once: true }).catch((caught) => caught);
	assert.match(error.message, /does not answer at http:\/\/tunesmith:8765 \(boom\)/);
	assert.match(error.description, /base URL/);
});

test('errors in the shape of OpenAI, as bytes, and from a proxy are read', () => {
	const openai = Buffer.from(
		JSON.stringify({ error: { message: 'No file.', code: 'not_found', param: 'file' } }),
	);
	assert.deepEqual(problemOf(404, openai), {
		status: 404,
		code: 'not_found',
		detail: 'No file.',
		hint: undefined,
		param: 'file',
	});
	assert.match(problemOf(502, '<html>Bad Gateway').detail, /HTTP 502: <html>/);
});
