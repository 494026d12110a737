#pragma once
// Everything but what needs an operating system (core/thread_pool.hpp).
#include "any.hpp"
#include "dequantize.hpp"
#include "file/gguf.hpp"
#include "format/describe.hpp"
#include "formats.hpp"
#include "gptq.hpp"
#include "plan_qgemm.hpp"
#include "qgemm.hpp"
#include "qgemm_grouped.hpp"
#include "quantize.hpp"
