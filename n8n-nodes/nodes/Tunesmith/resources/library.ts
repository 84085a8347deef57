import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';
import { modelLocator, type Resource, segment, shownFor, text } from '../fields';
import { request } from '../transport';

const properties: INodeProperties[] = [
	{
		displayName: 'Operation',
		name: 'operation',
		type: 'options',
		noDataExpression: true,
		displayOptions: { show: { resource: ['library'] } },
		default: 'suggest',
		options: [
			{
				name: 'Get',
				value: 'get',
				action: 'Get the library',
				description: 'How many Paperless documents are known, and how far the last sync came',
			},
			{
				name: 'Suggest Values',
				value: 'suggest',
				action: 'Suggest values for a document',
				description:
					'Ask a live model about a Paperless document, write named fields back where nothing stands, and remember the answer, so that a later correction becomes a training example',
			},
			{
				name: 'Sync',
				value: 'sync',
				action: 'Sync the library',
				description: 'Fetch what changed in Paperless, and see which answers were corrected',
			},
		],
	},
	modelLocator(shownFor('library', 'suggest')),
	{
		displayName: 'Document ID',
		name: 'documentId',
		type: 'string',
		default: '',
		required: true,
		placeholder: '123',
		description: 'ID of the document in Paperless',
		displayOptions: shownFor('library', 'suggest'),
	},
	{
		displayName: 'Fields to Write',
		name: 'write',
		type: 'string',
		default: '',
		placeholder: 'amount, date',
		description:
			'Names of the fields to write back, separated by commas. Leave empty to write nothing.',
		displayOptions: shownFor('library', 'suggest'),
	},
	{
		displayName: 'Dry Run',
		name: 'dryRun',
		type: 'boolean',
		default: false,
		description: 'Whether to say what would be written, and write nothing',
		displayOptions: shownFor('library', 'suggest'),
	},
];

async function suggest(context: IExecuteFunctions, i: number) {
	const body = {
		model: text(context, 'model', i),
		write: text(context, 'write', i)
			.split(',')
			.map((name) => name.trim())
			.filter(Boolean),
		dry_run: context.getNodeParameter('dryRun', i, false) as boolean,
	};
	const path = `/v1/library/documents/${segment(context, 'documentId', i)}/suggest`;
	return await request(context, 'POST', path, { body, itemIndex: i });
}

export const library: Resource = {
	properties,
	operations: {
		get: async (context, i) => await request(context, 'GET', '/v1/library', { itemIndex: i }),
		sync: async (context, i) =>
			await request(context, 'POST', '/v1/library/sync', { itemIndex: i }),
		suggest,
	},
};
