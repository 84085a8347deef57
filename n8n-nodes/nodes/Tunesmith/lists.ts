/** Lists: all pages of one, and what the searchable fields show. */

import type {
	IDataObject,
	IExecuteFunctions,
	ILoadOptionsFunctions,
	INodeListSearchItems,
	INodeListSearchResult,
} from 'n8n-workflow';
import { type Caller, request } from './transport';

const PAGE = 100;

interface Page {
	data: IDataObject[];
	has_more?: boolean;
	last_id?: string | null;
}

/** Up to the node's limit, over all pages that it takes. */
export async function many(
	context: IExecuteFunctions,
	i: number,
	path: string,
	qs: IDataObject = {},
): Promise<IDataObject[]> {
	const all = context.getNodeParameter('returnAll', i, false) as boolean;
	const limit = all ? Infinity : (context.getNodeParameter('limit', i, 50) as number);
	const found: IDataObject[] = [];
	let after: string | undefined;
	do {
		const page = await pageOf(
			context,
			path,
			{ ...qs, limit: Math.min(PAGE, limit - found.length), after },
			i,
		);
		found.push(...page.data);
		after = page.has_more ? (page.last_id ?? undefined) : undefined;
	} while (after && found.length < limit);
	return found.slice(0, limit);
}

/** A list that comes whole, cut to the node's limit. */
export async function whole(
	context: IExecuteFunctions,
	i: number,
	path: string,
): Promise<IDataObject[]> {
	const { data } = await pageOf(context, path, {}, i);
	const all = context.getNodeParameter('returnAll', i, false) as boolean;
	return all ? data : data.slice(0, context.getNodeParameter('limit', i, 50) as number);
}

async function pageOf(
	caller: Caller,
	path: string,
	qs: IDataObject,
	itemIndex?: number,
): Promise<Page> {
	return await request<Page>(caller, 'GET', path, { qs, itemIndex });
}

type Search = (
	this: ILoadOptionsFunctions,
	filter?: string,
	after?: string,
) => Promise<INodeListSearchResult>;

function search(
	path: string,
	show: (row: IDataObject) => INodeListSearchItems,
	paged = false,
): Search {
	return async function (this, filter, after) {
		const page = await pageOf(this, path, paged ? { limit: PAGE, after } : {});
		const wanted = (filter ?? '').toLowerCase();
		const seen = new Set<string>();
		const results = page.data.map(show).filter(({ name, value }) => {
			const fresh = !seen.has(String(value));
			seen.add(String(value));
			return fresh && `${name} ${value}`.toLowerCase().includes(wanted);
		});
		return { results, paginationToken: page.has_more ? (page.last_id ?? undefined) : undefined };
	};
}

const named = (row: IDataObject): INodeListSearchItems => ({
	name: String(row.name),
	value: String(row.name),
});

export const listSearch = {
	searchModels: search('/v1/models', (row) => ({ name: String(row.id), value: String(row.id) })),
	searchRecipes: search('/v1/recipes', named),
	searchDatasets: search('/v1/datasets', named),
	searchSchedules: search('/v1/schedules', named),
	searchRuns: search(
		'/v1/runs',
		(row) => ({ name: `${row.recipe} (${row.status}), ${row.id}`, value: String(row.id) }),
		true,
	),
	searchJobs: search(
		'/v1/fine_tuning/jobs',
		(row) => ({
			name: `${row.fine_tuned_model ?? row.model} (${row.status}), ${row.id}`,
			value: String(row.id),
		}),
		true,
	),
};
