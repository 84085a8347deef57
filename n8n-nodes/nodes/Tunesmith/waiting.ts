/** Waiting for a run to end: by polling while the execution runs, or by suspending it until Tunesmith calls back. */

import type {
	IDataObject,
	IExecuteFunctions,
	INodeExecutionData,
	IWebhookDescription,
	IWebhookFunctions,
	IWebhookResponseData,
} from 'n8n-workflow';
import { NodeOperationError, sleep } from 'n8n-workflow';
import { type Caller, request } from './transport';

export const RUN_ENDED = ['run.succeeded', 'run.failed', 'run.cancelled', 'run.paused'];
const ENDED = new Set(['succeeded', 'failed', 'cancelled', 'paused']);
const LONGEST_URL = 2000; // of a webhook
const POLL_S = 20; // of the service's 60: proxies between the two often give up after 30

/** Where a suspended execution is woken. n8n serves it for each execution; nothing is registered anywhere. */
export const resumeWebhooks: IWebhookDescription[] = [
	{
		name: 'default',
		httpMethod: 'POST',
		responseMode: 'onReceived',
		path: '',
		restartWebhook: true,
	},
];

/** What an operation has started: the run to wait for, and `path`, where the object is read again after its end. */
export class Started {
	constructor(
		readonly runId: string,
		readonly path: string,
		readonly json: IDataObject,
	) {}
}

export const hasEnded = (status: unknown) => ENDED.has(String(status));

/** Wait for the end within the node's time limit; fails or marks the item when it is over. */
export async function poll(
	context: IExecuteFunctions,
	i: number,
	started: Started,
): Promise<IDataObject> {
	const until = Date.now() + limitOf(context, i) * 60_000;
	const signal = context.getExecutionCancelSignal();
	for (;;) {
		if (signal?.aborted) return await stopped(context, i, started);
		const left = (until - Date.now()) / 1000;
		const asked = Date.now();
		const seconds = Math.max(0, Math.min(POLL_S, left));
		const run = await wait(context, started.runId, seconds, i, signal);
		if (run && hasEnded(run.status)) return await ended(context, i, started, run);
		if (left <= 0) return await tooLong(context, i, started);
		if (run && Date.now() - asked < 500) await sleep(500); // a proxy that does not let us wait
	}
}

async function wait(
	context: IExecuteFunctions,
	runId: string,
	seconds: number,
	itemIndex: number,
	signal?: AbortSignal,
): Promise<IDataObject | undefined> {
	const qs = { seconds: Math.round(seconds) };
	const call = request(context, 'GET', `/v1/runs/${runId}/wait`, { qs, signal, itemIndex });
	return await call.catch((error: Error) => {
		if (signal?.aborted) return undefined;
		throw error;
	});
}

async function ended(
	context: IExecuteFunctions,
	i: number,
	started: Started,
	run: IDataObject,
): Promise<IDataObject> {
	const failure = run.error as IDataObject | null;
	if (run.status !== 'succeeded' && option(context, i, 'failOnError', true)) {
		const error = new NodeOperationError(
			context.getNode(),
			`The run ${run.id} ${run.status === 'failed' ? 'failed' : `was ${run.status}`}${failure ? `: ${failure.message}` : '.'}`,
			{ itemIndex: i, description: (failure?.hint as string) ?? undefined },
		);
		error.context.problem = {
			status: 0,
			code: failure?.code ?? `run_${run.status}`,
			detail: error.message,
			hint: error.description,
		};
		throw error;
	}
	return await request(context, 'GET', started.path, { itemIndex: i });
}

async function tooLong(
	context: IExecuteFunctions,
	i: number,
	started: Started,
): Promise<IDataObject> {
	const minutes = limitOf(context, i);
	if (option(context, i, 'onTimeLimit', 'error') === 'error') {
		throw new NodeOperationError(
			context.getNode(),
			`The run ${started.runId} has not ended within ${minutes} minutes.`,
			{
				itemIndex: i,
				description:
					'It goes on in Tunesmith. Raise the time limit, use Run: Wait later, or wait with Suspend.',
			},
		);
	}
	return { ...(await request(context, 'GET', started.path, { itemIndex: i })), timed_out: true };
}

/** The execution was cancelled: what becomes of the run is the user's choice. */
async function stopped(
	context: IExecuteFunctions,
	i: number,
	started: Started,
): Promise<IDataObject> {
	const action = option(context, i, 'onCancel', 'cancel');
	if (action !== 'nothing') {
		const call = { evenCancelled: true, itemIndex: i };
		await request(context, 'POST', `/v1/runs/${started.runId}/${action}`, call);
	}
	throw new NodeOperationError(context.getNode(), 'The execution was cancelled.', { itemIndex: i });
}

/**
 * Suspend the execution until all runs have ended: each gets a one-off webhook on the execution's own resume address,
 * which also says what was started, because n8n keeps nothing else for the node. `started` is by input item. False
 * when all had ended before that. When nobody calls until the time limit, n8n passes on the node's input.
 */
export async function suspend(
	context: IExecuteFunctions,
	started: Map<number, Started>,
): Promise<boolean> {
	const first = [...started.keys()][0];
	const address = new URL(
		context.evaluateExpression('{{ $execution.resumeUrl }}', first) as string,
	);
	address.searchParams.set(
		'started',
		[...started].map(([i, { json }]) => `${i}:${json.id}`).join(),
	);
	const url = address.toString();
	if (url.length > LONGEST_URL) {
		throw new NodeOperationError(
			context.getNode(),
			`${started.size} runs are too many to suspend for.`,
			{
				description:
					'They go on in Tunesmith. Wait with Poll, or process the items in smaller batches.',
			},
		);
	}
	const hooks: string[] = [];
	for (const { runId } of started.values()) {
		const body = { url, events: RUN_ENDED, run_id: runId, description: 'n8n: wait for the run' };
		hooks.push((await request(context, 'POST', '/v1/webhooks', { body, once: true })).id as string);
	}
	const runs = await Promise.all(
		[...started.values()].map(
			async ({ runId }) => await request(context, 'GET', `/v1/runs/${runId}`),
		),
	);
	if (runs.every((run) => hasEnded(run.status))) {
		await Promise.all(hooks.map(async (id) => await forget(context, id)));
		return false;
	}
	await context.putExecutionToWait(new Date(Date.now() + limitOf(context, first) * 60_000));
	return true;
}

/** One-off webhooks vanish by themselves after their event; then there is nothing to delete. */
async function forget(context: Caller, id: string): Promise<void> {
	await request(context, 'DELETE', `/v1/webhooks/${id}`).catch(() => undefined);
}

/**
 * A webhook has come. It is only a knock: n8n has checked the address's token, and what counts is what the service
 * answers now. The execution goes on when all of its runs have ended.
 */
export async function resume(context: IWebhookFunctions): Promise<IWebhookResponseData> {
	const { started } = context.getQueryData() as { started?: string };
	const items: INodeExecutionData[] = [];
	for (const [i, id] of (started ?? '').split(',').map((entry) => entry.split(':'))) {
		const json = await request(context, 'GET', pathOf(id ?? ''));
		if (!hasEnded(json.status)) return { webhookResponse: { waiting: true } };
		items.push({ json, pairedItem: { item: Number(i) } });
	}
	return { workflowData: [items], webhookResponse: { resumed: true } };
}

function pathOf(id: string): string {
	const noun = id.startsWith('ftjob-') ? 'fine_tuning/jobs' : 'runs';
	return `/v1/${noun}/${encodeURIComponent(id)}`;
}

function limitOf(context: IExecuteFunctions, i: number): number {
	return context.getNodeParameter('timeLimit', i, 120) as number;
}

function option(
	context: IExecuteFunctions,
	i: number,
	name: string,
	fallback: string | boolean,
): unknown {
	return (context.getNodeParameter('waitOptions', i, {}) as IDataObject)[name] ?? fallback;
}
