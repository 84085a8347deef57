import type { Resource } from '../fields';
import { dataset } from './dataset';
import { evaluation } from './evaluation';
import { job } from './job';
import { library } from './library';
import { model } from './model';
import { recipe } from './recipe';
import { run } from './run';
import { schedule } from './schedule';

export const resources: Record<string, Resource> = {
	dataset,
	evaluation,
	job,
	library,
	model,
	recipe,
	run,
	schedule,
};
