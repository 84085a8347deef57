import type {
	IDataObject,
	IHookFunctions,
	INodeType,
	INodeTypeDescription,
	IWebhookFunctions,
	IWebhookResponseData,
} from 'n8n-workflow';
import { NodeApiError, NodeConnectionTypes } from 'n8n-workflow';
import { request } from '../Tunesmith/transport';
import { refusal, type SignedHeaders } from './signature';

export class TunesmithTrigger implements INodeType {
	description: INodeTypeDescription = {
		displayName: 'Tunesmith Trigger',
		name: 'tunesmithTrigger',
		icon: { light: 'file:../../icons/tunesmith.svg', dark: 'file:../../icons/tunesmith.dark.svg' },
		group: ['trigger'],
		version: 1,
		subtitle: '={{$parameter["events"].join(", ")}}',
		description:
			'Starts the workflow when a run or job has ended, a gate was not met, or a model was published or rolled back',
		defaults: { name: 'Tunesmith Trigger' },
		inputs: [],
		outputs: [NodeConnectionTypes.Main],
		credentials: [{ name: 'tunesmithApi', required: true }],
		webhooks: [
			{ name: 'default', httpMethod: 'POST', responseMode: 'onReceived', path: 'tunesmith' },
		],
		properties: [
			{
				displayName:
					'Tunesmith calls only hosts that its setting TUNESMITH_WEBHOOK_HOSTS names: add the host of this n8n there.',
				name: 'notice',
				type: 'notice',
				default: '',
			},
			{
				displayName: 'Events',
				name: 'events',
				type: 'multiOptions',
				required: true,
				default: ['run.succeeded', 'run.failed'],
				description: 'What starts the workflow',
				options: [
					{ name: 'Gate Not Met', value: 'gate.failed' },
					{ name: 'Job Cancelled', value: 'job.cancelled' },
					{ name: 'Job Failed', value: 'job.failed' },
					{ name: 'Job Succeeded', value: 'job.succeeded' },
					{ name: 'Model Published', value: 'model.published' },
					{ name: 'Model Rolled Back', value: 'model.rolled_back' },
					{ name: 'Run Cancelled', value: 'run.cancelled' },
					{ name: 'Run Failed', value: 'run.failed' },
					{ name: 'Run Paused', value: 'run.paused' },
					{ name: 'Run Succeeded', value: 'run.succeeded' },
					{ name: 'Scheduled Run Skipped', value: 'schedule.skipped' },
				],
			},
			{
				displayName: 'Filters',
				name: 'filters',
				type: 'collection',
				placeholder: 'Add Filter',
				default: {},
				options: [
					{
						displayName: 'Model Name',
						name: 'model',
						type: 'string',
						default: '',
						description: 'Only events of this model',
					},
					{
						displayName: 'Recipe Name',
						name: 'recipe',
						type: 'string',
						default: '',
						description: 'Only events of this recipe',
					},
				],
			},
		],
	};

	webhookMethods = {
		default: {
			async checkExists(this: IHookFunctions): Promise<boolean> {
				const { webhookId } = this.getWorkflowStaticData('node');
				if (!webhookId) return false;
				const url = this.getNodeWebhookUrl('default');
				const { data } = await request<{ data: IDataObject[] }>(this, 'GET', '/v1/webhooks');
				return data.some((hook) => hook.id === webhookId && hook.url === url);
			},

			async create(this: IHookFunctions): Promise<boolean> {
				const body = {
					url: this.getNodeWebhookUrl('default'),
					events: this.getNodeParameter('events') as string[],
					description: `n8n: ${this.getWorkflow().name ?? this.getWorkflow().id}`,
				};
				const made = await request(this, 'POST', '/v1/webhooks', { body, once: true });
				const kept = this.getWorkflowStaticData('node');
				kept.webhookId = made.id;
				kept.secret = made.secret; // shown only now
				return true;
			},

			async delete(this: IHookFunctions): Promise<boolean> {
				const kept = this.getWorkflowStaticData('node');
				if (kept.webhookId) {
					try {
						await request(this, 'DELETE', `/v1/webhooks/${kept.webhookId as string}`);
					} catch (error) {
						if (!(error instanceof NodeApiError && error.httpCode === '404')) {
							this.logger.warn(
								`Tunesmith still has the webhook ${kept.webhookId as string}: ${error}`,
							);
							return false;
						}
					}
				}
				delete kept.webhookId;
				delete kept.secret;
				return true;
			},
		},
	};

	async webhook(this: IWebhookFunctions): Promise<IWebhookResponseData> {
		const { secret } = this.getWorkflowStaticData('node');
		const body = this.getRequestObject().rawBody;
		const reason = secret
			? refusal(secret as string, this.getHeaderData() as SignedHeaders, body)
			: 'No secret is known.';
		if (reason) {
			this.getResponseObject().status(401).json({ error: reason });
			return { noWebhookResponse: true };
		}
		const event = JSON.parse(body.toString('utf8')) as IDataObject;
		if (!isWanted(event, this.getNodeParameter('filters', {}) as IDataObject)) {
			return { webhookResponse: { filtered: true } };
		}
		return { workflowData: [this.helpers.returnJsonArray(event)] };
	}
}

function isWanted(event: IDataObject, filters: IDataObject): boolean {
	const data = (event.data ?? {}) as IDataObject;
	return ['model', 'recipe'].every((name) => !filters[name] || filters[name] === data[name]);
}
