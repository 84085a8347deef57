/** Calls of Tunesmith's API: authenticated, repeated where that is safe, with errors a person can act on. */

import type {
	IDataObject,
	IExecuteFunctions,
	IHookFunctions,
	IHttpRequestMethods,
	IHttpRequestOptions,
	ILoadOptionsFunctions,
	IN8nHttpFullResponse,
	IWebhookFunctions,
} from 'n8n-workflow';
import { sleep } from 'n8n-workflow';
import { type Problem, problemOf, toNodeError } from './problems';

export type Caller = IExecuteFunctions | IHookFunctions | ILoadOptionsFunctions | IWebhookFunctions;

export interface Call {
	body?: IDataObject | Buffer;
	qs?: IDataObject;
	headers?: IDataObject;
	/** Answer with the bytes and headers instead of the parsed JSON. */
	raw?: boolean;
	/** A second identical call would do something else (go back twice): repeat only what was surely not done. */
	once?: boolean;
	signal?: AbortSignal;
	/** n8n ends the calls of a cancelled execution; this one is still sent. */
	evenCancelled?: boolean;
	itemIndex?: number;
}

const ATTEMPTS = 4;
const FIRST_DELAY_S = 1;
const LONGEST_DELAY_S = 30;
const TIMEOUT_MS = 90_000; // longer than the service lets a caller wait

/** Call the API and return its answer as JSON. Throws NodeApiError with the service's own words and hint. */
export async function request<T = IDataObject>(
	caller: Caller,
	method: IHttpRequestMethods,
	path: string,
	call: Call = {},
): Promise<T> {
	return (await send(caller, method, path, call)).body as T;
}

/** The same for files: the bytes, and the headers that name them. */
export async function download(
	caller: Caller,
	path: string,
	call: Call = {},
): Promise<{ data: Buffer; headers: IDataObject }> {
	const answer = await send(caller, 'GET', path, { ...call, raw: true });
	return { data: Buffer.from(answer.body as unknown as Uint8Array), headers: answer.headers };
}

async function send(
	caller: Caller,
	method: IHttpRequestMethods,
	path: string,
	call: Call,
): Promise<IN8nHttpFullResponse> {
	const { baseUrl } = await caller.getCredentials<{ baseUrl: string }>('tunesmithApi');
	const url = `${baseUrl.replace(/\/+$/, '')}${path}`;
	const sender = call.evenCancelled
		? (Object.create(caller, { getExecutionCancelSignal: { value: () => undefined } }) as Caller)
		: caller;
	for (let attempt = 1; ; attempt++) {
		const outcome = await once(sender, { ...options(method, url, call) });
		if (!('problem' in outcome)) return outcome;
		const { problem, retryAfter } = outcome;
		if (attempt === ATTEMPTS || call.signal?.aborted || !mayRepeat(problem, call)) {
			throw toNodeError(caller, problem, call.itemIndex);
		}
		await pause(retryAfter ?? FIRST_DELAY_S * 2 ** (attempt - 1), call.signal);
	}
}

function options(method: IHttpRequestMethods, url: string, call: Call): IHttpRequestOptions {
	return {
		method,
		url,
		qs: call.qs,
		body: call.body,
		headers: { Accept: 'application/json', ...call.headers },
		json: !call.raw && !Buffer.isBuffer(call.body),
		encoding: call.raw ? 'arraybuffer' : undefined,
		timeout: TIMEOUT_MS,
		returnFullResponse: true,
		ignoreHttpStatusErrors: true,
	};
}

type Outcome = IN8nHttpFullResponse | { problem: Problem; retryAfter?: number };

async function once(caller: Caller, sent: IHttpRequestOptions): Promise<Outcome> {
	try {
		const answer = (await caller.helpers.httpRequestWithAuthentication.call(
			caller,
			'tunesmithApi',
			sent,
		)) as IN8nHttpFullResponse;
		if (answer.statusCode < 400) return { ...answer, body: parsed(answer.body, sent) };
		const after = Number(answer.headers['retry-after']);
		return {
			problem: problemOf(answer.statusCode, answer.body),
			retryAfter: Number.isFinite(after) ? after : undefined,
		};
	} catch (error) {
		return { problem: unreachable(error as Failure, sent.url) };
	}
}

/** An upload is sent as bytes, so its answer comes back as text. */
function parsed(body: unknown, sent: IHttpRequestOptions): IN8nHttpFullResponse['body'] {
	const isText = typeof body === 'string' && body !== '' && sent.encoding === undefined;
	return isText ? JSON.parse(body) : (body as IDataObject);
}

interface Failure {
	message: string;
	code?: string;
	cause?: { code?: string };
}

function unreachable(error: Failure, url: string): Problem {
	const code = error.code ?? error.cause?.code ?? '';
	return {
		status: 0,
		code: code === 'ERR_CANCELED' ? 'cancelled' : 'unreachable',
		detail:
			code === 'ERR_CANCELED'
				? 'The execution was cancelled.'
				: `Tunesmith does not answer at ${new URL(url).origin} (${code || error.message}).`,
		hint: 'Check the base URL of the credential, and that the service runs: from a container, 127.0.0.1 is the container itself.',
		refused: code === 'ECONNREFUSED',
	};
}

function mayRepeat(problem: Problem, call: Call): boolean {
	if (problem.code === 'cancelled') return false;
	if (problem.status === 429 || problem.refused) return true;
	return !call.once && (problem.status === 0 || [500, 502, 503, 504].includes(problem.status));
}

async function pause(seconds: number, signal?: AbortSignal): Promise<void> {
	const until = Date.now() + Math.min(seconds, LONGEST_DELAY_S) * 1000;
	while (Date.now() < until && !signal?.aborted) {
		await sleep(Math.min(250, until - Date.now()));
	}
}
