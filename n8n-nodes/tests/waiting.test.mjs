import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { context, problem } from './stub.mjs';

const require = createRequire(import.meta.url);
const { poll, resume, Started } = require('../dist/nodes/Tunesmith/waiting.js');

const started = new Started('run-1', '/v1/runs/run-1', { id: 'run-1', status: 'queued' });
const run = (status, more = {}) => ({ body: { id: 'run-1', status, error: null, ...more } });

test('polls until the end and returns the object', async () => {
	const caller = context([run('running'), run('succeeded'), { body: { id: 'run-1', report: 1 } }]);
	assert.deepEqual(await poll(caller, 0, started), { id: 'run-1', report: 1 });
	assert.deepEqual(
		caller.sent.map(({ url }) => url.replace('http://tunesmith:8765', '')),
		['/v1/runs/run-1/wait', '/v1/runs/run-1/wait', '/v1/runs/run-1'],
	);
	assert.equal(caller.sent[0].qs.seconds, 20);
});

test('a run that fails is an error with its hint, unless the status is wanted', async () => {
	const failed = run('failed', {
		error: { code: 'gate_not_met', message: 'Worse than live.', hint: 'More rows.' },
	});
	const error = await poll(context([failed]), 0, started).catch((caught) => caught);
	assert.equal(error.message, 'The run run-1 failed: Worse than live.');
	assert.equal(error.description, 'More rows.');
	assert.equal(error.context.problem.code, 'gate_not_met');
	const parameters = { waitOptions: { failOnError: false } };
	assert.equal((await poll(context([failed], { parameters }), 0, started)).status, 'failed');
});

test('the time limit ends the wait and says that the run goes on', async () => {
	const late = { parameters: { timeLimit: 0 } };
	const error = await poll(context([run('running')], late), 0, started).catch((caught) => caught);
	assert.match(error.message, /has not ended within 0 minutes/);
	assert.match(error.description, /goes on/);
	const parameters = { timeLimit: 0, waitOptions: { onTimeLimit: 'return' } };
	assert.equal((await poll(context([run('running')], { parameters }), 0, started)).timed_out, true);
});

test('a cancelled execution cancels, pauses or leaves the run', async () => {
	for (const [onCancel, last] of [
		['cancel', '/v1/runs/run-1/cancel'],
		['pause', '/v1/runs/run-1/pause'],
		['nothing', '/v1/runs/run-1/wait'],
	]) {
		const stop = new AbortController();
		const aborts = { after: () => stop.abort(), ...run('running') };
		const parameters = { waitOptions: { onCancel } };
		const caller = context([aborts], { parameters, signal: stop.signal });
		await assert.rejects(poll(caller, 0, started), { message: 'The execution was cancelled.' });
		assert.equal(caller.sent.at(-1).url, `http://tunesmith:8765${last}`);
		assert.equal(caller.sent.at(-1).cancelSignal, onCancel === 'nothing' ? stop.signal : undefined);
	}
});

test('an error of the service during the wait is an error, not a longer wait', async () => {
	await assert.rejects(poll(context([problem(404, { detail: 'No run.' })]), 0, started), {
		message: 'No run.',
	});
});

test('a webhook wakes the execution only when all of its runs have ended', async () => {
	const wake = async (...answers) =>
		await resume(
			Object.assign(context(answers), { getQueryData: () => ({ started: '0:run-1,2:ftjob-2' }) }),
		);
	const early = await wake(run('succeeded'), run('running'));
	assert.equal(early.workflowData, undefined);
	const caller = context([run('succeeded'), run('failed')]);
	const { workflowData } = await resume(
		Object.assign(caller, { getQueryData: () => ({ started: '0:run-1,2:ftjob-2/../x' }) }),
	);
	assert.deepEqual(
		workflowData[0].map(({ json, pairedItem }) => [json.status, pairedItem.item]),
		[
			['succeeded', 0],
			['failed', 2],
		],
	);
	assert.deepEqual(
		caller.sent.map(({ url }) => url.replace('http://tunesmith:8765', '')),
		['/v1/runs/run-1', '/v1/fine_tuning/jobs/ftjob-2%2F..%2Fx'],
	);
});
