/** Errors as Tunesmith words them: what is wrong, and a hint that says what to do next. */

import type { IDataObject, JsonObject } from 'n8n-workflow';
import { NodeApiError } from 'n8n-workflow';
import type { Caller } from './transport';

export interface Problem {
	/** HTTP status, 0 when there was no answer. */
	status: number;
	/** Stable: what a workflow may branch on. */
	code: string;
	detail: string;
	hint?: string;
	param?: string;
	/** The connection was refused: surely nothing was done. */
	refused?: boolean;
}

/** Read problem+json, or the OpenAI shape of the compatible routes; anything else is quoted. */
export function problemOf(status: number, body: unknown): Problem {
	const data = toObject(body);
	const inner = (data?.error ?? data) as IDataObject | undefined;
	const detail = inner?.detail ?? inner?.message;
	if (typeof detail === 'string') {
		return {
			status,
			code: String(inner?.code ?? `http_${status}`),
			detail,
			hint: text(inner?.hint),
			param: text(inner?.param),
		};
	}
	const quoted = String(Buffer.isBuffer(body) ? body : typeof body === 'string' ? body : '').slice(
		0,
		200,
	);
	return {
		status,
		code: `http_${status}`,
		detail: `Tunesmith answered HTTP ${status}${quoted ? `: ${quoted}` : '.'}`,
		hint:
			status === 404
				? 'This service may be older than the node, or the base URL is of something else.'
				: undefined,
	};
}

/** n8n shows the message as the title and the description, our hint, below it; an agent gets both. */
export function toNodeError(caller: Caller, problem: Problem, itemIndex?: number): NodeApiError {
	const error = new NodeApiError(caller.getNode(), {} as JsonObject, {
		message: problem.detail,
		description: problem.hint,
		httpCode: problem.status ? String(problem.status) : undefined,
		itemIndex,
	});
	error.message = problem.detail; // n8n replaces it for statuses and codes that it has words of its own for
	error.context.problem = { ...problem };
	return error;
}

/** The error as an item. n8n leads items of exactly these two keys to the error output. */
export function asItem(error: Error & { context?: IDataObject }): IDataObject {
	const problem = error.context?.problem as Problem | undefined;
	if (!problem) return { error: error.message };
	const { detail, status, code, hint, param } = problem;
	return {
		error: detail,
		details: { code, status, ...(hint && { hint }), ...(param && { param }) },
	};
}

function toObject(body: unknown): IDataObject | undefined {
	if (Buffer.isBuffer(body) || body instanceof ArrayBuffer)
		return toObject(Buffer.from(body as Buffer).toString());
	if (typeof body !== 'string') return (body ?? undefined) as IDataObject | undefined;
	try {
		return JSON.parse(body) as IDataObject;
	} catch {
		return undefined;
	}
}

function text(value: unknown): string | undefined {
	return typeof value === 'string' && value !== '' ? value : undefined;
}
