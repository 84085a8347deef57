import type { IDataObject, IExecuteFunctions, INodeProperties } from 'n8n-workflow';
import { NodeOperationError } from 'n8n-workflow';
import {
	datasetLocator,
	json,
	limits,
	recipeLocator,
	type Resource,
	segment,
	shownFor,
	text,
} from '../fields';
import { whole } from '../lists';
import { download, request } from '../transport';
import { asBinary, binaryOf, upload } from '../uploads';
import { started, startRun } from './recipe';

const properties: INodeProperties[] = [
	{
		displayName: 'Operation',
		name: 'operation',
		type: 'options',
		noDataExpression: true,
		displayOptions: { show: { resource: ['dataset'] } },
		default: 'getReport',
		options: [
			{
				name: 'Build',
				value: 'build',
				action: 'Build a dataset',
				description:
					'Read the sources of a recipe and make its dataset, without training: a run of its first stage',
			},
			{
				name: 'Check',
				value: 'check',
				action: 'Check a file of examples',
				description: 'Say what importing a file would keep, reject and warn of; nothing is stored',
			},
			{
				name: 'Export',
				value: 'export',
				action: 'Export a dataset',
				description: 'Download the newest version of a dataset as a file',
			},
			{
				name: 'Get Many',
				value: 'getAll',
				action: 'Get many datasets',
				description: 'List the versions of many datasets, newest first',
			},
			{
				name: 'Get Report',
				value: 'getReport',
				action: 'Get the report of a dataset',
				description:
					'Row counts, rejected rows with reasons, and quality gates of the newest version',
			},
			{
				name: 'Import',
				value: 'import',
				action: 'Import a dataset',
				description: 'Check a file of examples and store it as a new version; a wrong row is named',
			},
			{
				name: 'Preview',
				value: 'preview',
				action: 'Preview a dataset',
				description: 'Get the first rows of a dataset, each as an item',
			},
			{
				name: 'Synthesise',
				value: 'synthesize',
				action: 'Synthesise rows of a dataset',
				description:
					'Let a teacher model write further training rows: a run that makes the next version and trains nothing',
			},
		],
	},
	datasetLocator(shownFor('dataset', 'getReport', 'preview', 'export', 'synthesize')),
	recipeLocator(shownFor('dataset', 'build')),
	{
		displayName: 'Name',
		name: 'name',
		type: 'string',
		default: '',
		required: true,
		placeholder: 'household-documents',
		description:
			'Name of the dataset; a known name gets a new version, and rows are compared with the earlier ones',
		displayOptions: shownFor('dataset', 'check', 'import'),
	},
	{
		displayName: 'Input Binary Field',
		name: 'binaryField',
		type: 'string',
		default: 'data',
		required: true,
		hint: 'The name of the input binary field that holds the file',
		displayOptions: shownFor('dataset', 'check', 'import'),
	},
	{
		displayName: 'Format',
		name: 'format',
		type: 'options',
		default: 'sharegpt',
		options: [
			{ name: 'Alpaca', value: 'alpaca' },
			{ name: 'Axolotl Folder (ZIP)', value: 'axolotl' },
			{ name: 'Chat Messages', value: 'messages' },
			{ name: 'CSV', value: 'csv' },
			{ name: 'LLaMA-Factory Folder (ZIP)', value: 'llamafactory' },
			{ name: 'Parquet', value: 'parquet' },
			{ name: 'Preference Pairs', value: 'preference' },
			{ name: 'Prompt and Completion', value: 'prompt_completion' },
			{ name: 'ShareGPT', value: 'sharegpt' },
		],
		description: 'The format of the file',
		displayOptions: shownFor('dataset', 'export'),
	},
	{
		displayName: 'Put Output File in Field',
		name: 'binaryField',
		type: 'string',
		default: 'data',
		required: true,
		hint: 'The name of the output binary field to put the file in',
		displayOptions: shownFor('dataset', 'export'),
	},
	{
		displayName: 'Synthetic Rows',
		name: 'synthetic',
		type: 'json',
		required: true,
		default: '{\n  "like": "dataset",\n  "rows": 100,\n  "budget": {"tokens": 200000}\n}',
		description:
			'As the synthetic source of a recipe: like, rows, teacher, kinds, languages, judge, budget. A misspelt key is an error.',
		displayOptions: shownFor('dataset', 'synthesize'),
	},
	{
		displayName: 'Rows',
		name: 'rows',
		type: 'number',
		default: 5,
		typeOptions: { minValue: 1 },
		description: 'How many rows to show',
		displayOptions: shownFor('dataset', 'preview'),
	},
	...limits('dataset', 'getAll'),
];

async function importFile(
	context: IExecuteFunctions,
	i: number,
	fields: Record<string, string> = {},
): Promise<IDataObject> {
	const path = `/v1/datasets/${segment(context, 'name', i)}/import`;
	return await upload(context, i, path, await binaryOf(context, i), fields);
}

async function report(context: IExecuteFunctions, i: number): Promise<IDataObject> {
	const path = `/v1/datasets/${segment(context, 'dataset', i)}`;
	const found = await request<{ data: IDataObject[] }>(context, 'GET', path, { itemIndex: i });
	return found.data[0];
}

async function preview(context: IExecuteFunctions, i: number): Promise<IDataObject[]> {
	const path = `/v1/datasets/${segment(context, 'dataset', i)}/export`;
	const { data } = await download(context, path, { qs: { format: 'sharegpt' }, itemIndex: i });
	const lines = data.toString('utf8').split('\n').filter(Boolean);
	try {
		return lines
			.slice(0, context.getNodeParameter('rows', i, 5) as number)
			.map((line) => JSON.parse(line) as IDataObject);
	} catch (error) {
		throw new NodeOperationError(context.getNode(), error as Error, { itemIndex: i });
	}
}

export const dataset: Resource = {
	properties,
	operations: {
		build: async (context, i) => await startRun(context, i, 'build'),
		check: async (context, i) => await importFile(context, i, { dry_run: 'true' }),
		import: importFile,
		getReport: report,
		getAll: async (context, i) => await whole(context, i, '/v1/datasets'),
		preview,
		synthesize: async (context, i) =>
			await started(context, i, `/v1/datasets/${segment(context, 'dataset', i)}/synthesize`, {
				body: { synthetic: json(context, 'synthetic', i) },
			}),
		export: async (context, i) => {
			const format = context.getNodeParameter('format', i) as string;
			const path = `/v1/datasets/${segment(context, 'dataset', i)}/export`;
			return await asBinary(context, i, path, `${text(context, 'dataset', i)}.${format}`, {
				format,
			});
		},
	},
};
