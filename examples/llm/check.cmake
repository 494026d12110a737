# What llm promises of a trained model: the perplexities that others measured, the same
# for any batch and number of threads; exit codes.
if(NOT MODELS OR NOT EXISTS ${MODELS}/stories260K/stories260K-f32.gguf)
    message("skipped: QLIB_MODELS names no folder with stories260K/stories260K-f32.gguf")
    return()
endif()
set(f32 ${MODELS}/stories260K/stories260K-f32.gguf)
set(text ${MODELS}/text/dev_eval.txt --bytes 40000)
file(REMOVE_RECURSE ${FOLDER})
file(MAKE_DIRECTORY ${FOLDER})

function(llm expected_code expected_text)  # further arguments: the command's
    execute_process(COMMAND ${LLM} ${ARGN} WORKING_DIRECTORY ${FOLDER}
        RESULT_VARIABLE code OUTPUT_VARIABLE text ERROR_VARIABLE errors)
    if(NOT code EQUAL expected_code OR NOT "${text}${errors}" MATCHES "${expected_text}")
        message(FATAL_ERROR "llm ${ARGN}: exit code ${code}, and not \"${expected_text}\" but: ${text}${errors}")
    endif()
    set(output "${text}" PARENT_SCOPE)
endfunction()
function(expect_same a b what)
    if(NOT a STREQUAL b)
        message(FATAL_ERROR "${what}: ${a} and ${b}")
    endif()
endfunction()

# Chunks of 512 tokens of the first 40,000 bytes; the same weights in another file, rotated by halves.
llm(0 "perplexity 3\\.6882 " perplexity ${f32} ${text} --chunks 16)
llm(0 "perplexity 3\\.6879 " perplexity ${MODELS}/stories260K/stories260K-f16.gguf ${text} --chunks 16)
llm(0 "perplexity 3\\.6882 " perplexity ${MODELS}/stories260K/model.safetensors ${text} --chunks 16 --tokenizer ${f32})

# Positions in each way of writing them: a base and Llama 3's scaling by transformers 4 and 5, and a linear factor.
# llama.cpp has 14.3873 for that scaling in rope_freqs.weight, and 26.4341 for the factor, on two chunks.
set(folder ${FOLDER}/positions)
file(MAKE_DIRECTORY ${folder})
file(CREATE_LINK ${MODELS}/stories260K/model.safetensors ${folder}/model.safetensors COPY_ON_ERROR SYMBOLIC)
function(perplexity_with positions expected)
    file(READ ${MODELS}/stories260K/config.json config)
    string(REPLACE "\"rope_theta\": 10000.0" "${positions}" config "${config}")
    file(WRITE ${folder}/config.json "${config}")
    llm(0 "perplexity ${expected} " perplexity ${folder}/model.safetensors ${text} --chunks 2 --tokenizer ${f32})
endfunction()
set(llama3 "\"rope_type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0")
string(APPEND llama3 ", \"original_max_position_embeddings\": 64")
perplexity_with("\"rope_theta\": 500000.0" 12.9684)
perplexity_with("\"rope_parameters\": {\"rope_theta\": 500000.0, \"rope_type\": \"default\"}" 12.9684)
perplexity_with("\"rope_theta\": 10000.0, \"rope_scaling\": {${llama3}}" 14.3904)
perplexity_with("\"rope_parameters\": {\"rope_theta\": 10000.0, ${llama3}}" 14.3904)
perplexity_with("\"rope_scaling\": {\"type\": \"linear\", \"factor\": 4.0}" 26.4275)

# One token at a time, and with more threads.
foreach(way IN ITEMS "--batch;512;--threads;1" "--batch;1;--threads;2" "--batch;100;--threads;3")
    llm(0 "perplexity" perplexity ${f32} ${text} --chunks 2 --load-as q8_0 --mode exact ${way})
    string(REGEX MATCH "perplexity [0-9.]+" here "${output}")
    if(DEFINED there)
        expect_same("${here}" "${there}" "perplexity with ${way}")
    endif()
    set(there "${here}")
endforeach()

# A model does not differ from itself, a ternary one does.
llm(0 "batch 512.*mean 0\\.000000.*largest 0\\.000000.*100\\.000.*batch 1,.*largest 0\\.000000"
    compare ${f32} ${f32} ${text} --chunks 2 --single-chunks 1 --max-kl 0)
set(q8_0 compare ${f32} ${f32} ${text} --chunks 1 --load-b-as q8_0)
llm(0 "batch 1,.*mean [0-9.]+ \\+/- unknown, 99th percentile [0-9.]+ \\+/- unknown" ${q8_0} --max-kl 0.02)
llm(1 "error: the mean KL divergence is more than 0\n" ${q8_0} --batch 512 --max-kl 0)
llm(105 "max-kl" compare ${f32} ${f32} ${text} --chunks 1 --max-kl=-1)
llm(1 "error: the mean KL divergence is more than 0.02"
    compare ${f32} ${f32} ${text} --chunks 1 --batch 512 --load-b-as ternary_g80 --max-kl 0.02)

# The same seed, the same story.
foreach(seed IN ITEMS 7 7 8)
    llm(0 "Once upon a time" generate ${f32} --prompt "Once upon a time" --tokens 40 --seed ${seed})
    list(APPEND stories "${output}")
endforeach()
list(GET stories 0 first)
list(GET stories 1 second)
list(GET stories 2 third)
expect_same("${first}" "${second}" "stories of one seed")
if(first STREQUAL third)
    message(FATAL_ERROR "two seeds gave the same story: ${first}")
endif()

llm(0 "35 matrices, 2 chunks" imatrix ${f32} ${text} imatrix.gguf --chunks 2)
llm(0 "35 matrices, 2 chunks" imatrix ${f32} ${text} imatrix.dat --chunks 2 --legacy)
llm(0 "35 matrices, 1 chunks" imatrix ${f32} ${text} imatrix.gguf --chunks 1)  # an older one may go

# Nothing else may: not the model, by another name too, not a file that happens to be called so.
file(COPY_FILE ${f32} ${FOLDER}/model.gguf)
file(CREATE_LINK ${FOLDER}/model.gguf ${FOLDER}/link.gguf SYMBOLIC)
file(WRITE ${FOLDER}/notes.txt "notes")
foreach(other IN ITEMS model.gguf link.gguf)
    llm(1 "it is the file model.gguf that is read, and would be lost" imatrix model.gguf ${text} ${other} --chunks 1)
endforeach()
llm(1 "is there already, and is no imatrix" imatrix model.gguf ${text} ./notes.txt --chunks 1)
llm(1 "missing/imatrix.gguf" imatrix model.gguf ${text} missing/imatrix.gguf --chunks 1)
file(SHA256 ${f32} model)
file(SHA256 ${FOLDER}/model.gguf copy)
expect_same("${model}" "${copy}" "the model, before and after")
file(REMOVE ${FOLDER}/model.gguf ${FOLDER}/link.gguf ${FOLDER}/notes.txt)

# quantize finds the weights of a checkpoint in an imatrix, and its manifest says from which text they were weighed.
set(checkpoint ${MODELS}/stories260K/model.safetensors)
llm(0 "35 matrices, 2 chunks" imatrix ${checkpoint} ${MODELS}/text/dev_eval.txt checkpoint.gguf --chunks 2
    --tokenizer ${f32})
execute_process(COMMAND ${QUANTIZE} ${checkpoint} ${FOLDER}/int4 --format int4_g32 --imatrix ${FOLDER}/checkpoint.gguf
    OUTPUT_VARIABLE output ERROR_VARIABLE output RESULT_VARIABLE code)
if(NOT code EQUAL 0 OR NOT output MATCHES "the imatrix knows ([0-9]+) of ([0-9]+) tensors"
        OR NOT CMAKE_MATCH_1 EQUAL CMAKE_MATCH_2)
    message(FATAL_ERROR "quantize with an imatrix of llm's: exit code ${code}: ${output}")
endif()
file(SHA256 ${MODELS}/text/dev_eval.txt hash)
file(READ ${FOLDER}/int4/model.safetensors.manifest.json manifest)
string(JSON hash_in_manifest GET "${manifest}" imatrix text_sha256)
expect_same("${hash}" "${hash_in_manifest}" "hashes of the text")
file(REMOVE_RECURSE ${FOLDER}/int4 ${FOLDER}/checkpoint.gguf)

llm(1 "no format of this name" perplexity ${f32} ${text} --load-as q9_9)
llm(1 "token_embd.weight .512 x 64.: mode: the levels of this format have no 8-bit integer form"
    perplexity ${f32} ${text} --mode integer)
llm(1 "the text has 37 chunks" perplexity ${f32} ${text} --chunks 100)
llm(1 "no GGUF file" perplexity ${CMAKE_CURRENT_LIST_FILE} ${text})
file(WRITE ${FOLDER}/lfs.gguf "version https://git-lfs.github.com/spec/v1\n")
file(COPY_FILE ${FOLDER}/lfs.gguf ${FOLDER}/lfs.safetensors)
foreach(pointer IN ITEMS lfs.gguf lfs.safetensors)
    llm(1 "${pointer}: it is a git-lfs pointer" perplexity ${pointer} ${text})
endforeach()
file(REMOVE ${FOLDER}/lfs.gguf ${FOLDER}/lfs.safetensors)
file(GLOB left RELATIVE ${FOLDER} ${FOLDER}/*)
expect_same("${left}" "imatrix.dat;imatrix.gguf;positions" "files")
