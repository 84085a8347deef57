import type {
	IExecuteFunctions,
	INodeExecutionData,
	INodeType,
	INodeTypeDescription,
	IWebhookFunctions,
	IWebhookResponseData,
	JsonObject,
} from 'n8n-workflow';
import { NodeApiError, NodeConnectionTypes, NodeOperationError } from 'n8n-workflow';
import { FileItem, type Result } from './fields';
import { listSearch } from './lists';
import { asItem } from './problems';
import { resources } from './resources';
import { waitProperties } from './resources/wait';
import { request } from './transport';
import { poll, resume, resumeWebhooks, Started, suspend } from './waiting';

export class Tunesmith implements INodeType {
	description: INodeTypeDescription = {
		displayName: 'Tunesmith',
		name: 'tunesmith',
		icon: { light: 'file:../../icons/tunesmith.svg', dark: 'file:../../icons/tunesmith.dark.svg' },
		group: ['transform'],
		version: 1,
		subtitle: '={{$parameter["operation"] + ": " + $parameter["resource"]}}',
		description:
			'Fine-tune small open models on your own documents, look at what was measured, publish, roll back, and ask the models',
		defaults: { name: 'Tunesmith' },
		usableAsTool: true,
		inputs: [NodeConnectionTypes.Main],
		outputs: [NodeConnectionTypes.Main],
		credentials: [{ name: 'tunesmithApi', required: true }],
		webhooks: resumeWebhooks,
		properties: [
			{
				displayName: 'Resource',
				name: 'resource',
				type: 'options',
				noDataExpression: true,
				default: 'recipe',
				options: [
					{ name: 'Dataset', value: 'dataset', description: 'Checked training examples' },
					{ name: 'Evaluation', value: 'evaluation', description: 'What was measured of a run' },
					{ name: 'Job', value: 'job', description: 'Fine-tuning on a file of examples' },
					{ name: 'Library', value: 'library', description: 'The documents of Paperless' },
					{ name: 'Model', value: 'model', description: 'Published models and their versions' },
					{ name: 'Recipe', value: 'recipe', description: 'From documents to a live model' },
					{ name: 'Run', value: 'run', description: 'One execution of a recipe' },
					{ name: 'Schedule', value: 'schedule', description: 'Recipes that run by the clock' },
				],
			},
			...Object.values(resources).flatMap(({ properties }) => properties),
			...waitProperties,
		],
	};

	methods = { listSearch };

	async execute(this: IExecuteFunctions): Promise<INodeExecutionData[][]> {
		const items = this.getInputData();
		const output: INodeExecutionData[] = [];
		const suspended = new Map<number, Started>();

		for (let i = 0; i < items.length; i++) {
			try {
				const resource = this.getNodeParameter('resource', i) as string;
				const operation = this.getNodeParameter('operation', i) as string;
				const result = await resources[resource].operations[operation](this, i);
				if (result instanceof Started && waitOf(this, i) === 'suspend') {
					suspended.set(i, result);
				}
				for (const item of await toItems(this, i, result)) {
					output.push({ ...item, pairedItem: { item: i } });
				}
			} catch (error) {
				if (this.continueOnFail() || this.isToolExecution()) {
					// of a tool, an agent sees what it returns and never what it throws
					output.push({ json: asItem(error as Error), pairedItem: { item: i } });
				} else if (error instanceof NodeApiError) {
					throw new NodeApiError(this.getNode(), error as unknown as JsonObject); // the same, unchanged
				} else {
					throw new NodeOperationError(this.getNode(), error as Error, { itemIndex: i });
				}
			}
		}
		if (suspended.size > 0 && !(await suspend(this, suspended)))
			return [await refreshed(this, output, suspended)];
		return [output];
	}

	async webhook(this: IWebhookFunctions): Promise<IWebhookResponseData> {
		return await resume(this);
	}
}

/** All had ended before the execution could be suspended: what was started is read again. */
async function refreshed(
	context: IExecuteFunctions,
	output: INodeExecutionData[],
	started: Map<number, Started>,
): Promise<INodeExecutionData[]> {
	const jsons = output.map(async (item, i) => {
		const path = started.get(i)?.path;
		return {
			...item,
			json: path ? await request(context, 'GET', path, { itemIndex: i }) : item.json,
		};
	});
	return await Promise.all(jsons);
}

function waitOf(context: IExecuteFunctions, i: number): string {
	const waits = context.getNodeParameter('operation', i) === 'wait' ? 'poll' : 'no';
	return context.getNodeParameter('wait', i, waits) as string;
}

async function toItems(
	context: IExecuteFunctions,
	i: number,
	result: Result,
): Promise<INodeExecutionData[]> {
	if (Array.isArray(result)) return result.map((json) => ({ json }));
	if (result instanceof FileItem) return [result.item];
	if (!(result instanceof Started)) return [{ json: result }];
	return [{ json: waitOf(context, i) === 'poll' ? await poll(context, i, result) : result.json }];
}
