# What quantize promises: a copy is the same file, threads do not change a byte, and
# a run that fails leaves nothing behind.
file(REMOVE_RECURSE ${FOLDER})
file(MAKE_DIRECTORY ${FOLDER})

function(expect_same a b)
    file(SHA256 ${FOLDER}/${a} hash_a)
    file(SHA256 ${FOLDER}/${b} hash_b)
    if(NOT hash_a STREQUAL hash_b)
        message(FATAL_ERROR "${a} and ${b} differ")
    endif()
endfunction()
function(quantize)
    execute_process(COMMAND ${QUANTIZE} ${ARGN} WORKING_DIRECTORY ${FOLDER} COMMAND_ERROR_IS_FATAL ANY)
endfunction()
function(expect_failure rule)  # further arguments: the command's
    execute_process(COMMAND ${QUANTIZE} ${ARGN} WORKING_DIRECTORY ${FOLDER}
        RESULT_VARIABLE code ERROR_VARIABLE text OUTPUT_VARIABLE text)
    if(code EQUAL 0 OR NOT text MATCHES "${rule}")
        message(FATAL_ERROR "quantize ${ARGN}: exit code ${code}, and not \"${rule}\" but: ${text}")
    endif()
endfunction()

quantize(--synthetic model.gguf)
quantize(model.gguf copy.gguf --format copy)
expect_same(model.gguf copy.gguf)
quantize(model.gguf copy.gguf --format q4_k --dry-run)  # prints, and writes nothing
expect_same(model.gguf copy.gguf)

foreach(format IN ITEMS bf16 q4_0 q5_0 q8_0 q4_k q6_k)
    quantize(model.gguf one.gguf --format ${format} --threads 1)
    quantize(model.gguf three.gguf --format ${format} --threads 3)
    expect_same(one.gguf three.gguf)
    expect_failure("there is nothing to quantize: 15 matrices have the format" three.gguf bad.gguf --format ${format})
    expect_failure("three.gguf that is read, and would be lost" three.gguf three.gguf --format copy)
    expect_same(one.gguf three.gguf)
endforeach()
quantize(--verify one.gguf --source model.gguf)

expect_failure("token_embd.weight .260 x 256.: its type is q6_K" one.gguf bad.gguf --format f16)
expect_failure("no GGUF file" ${CMAKE_CURRENT_LIST_FILE} bad.gguf --format q8_0)
expect_failure("q9_9: there is no such format" model.gguf bad.gguf --format q9_9)
expect_failure("--preset" model.gguf bad.gguf --preset Q9_K)
expect_failure("q8_1: models cannot be written in this format" model.gguf bad.gguf --format q8_1)
expect_failure("blk.0.attn_k.weight .128 x 256.: iq2_s is of no use without an imatrix"
    model.gguf bad.gguf --preset IQ3_XXS)
expect_failure("blk.0.attn_k.weight .128 x 256.: q2_K is of no use without an imatrix"
    model.gguf bad.gguf --preset Q2_K_S)
expect_failure("REGEX=FORMAT" model.gguf bad.gguf --preset Q4_K_M --tensor-type ffn_down)
expect_failure("--tensor-type .=q8_0: not a pattern" model.gguf bad.gguf --preset Q4_K_M --tensor-type [=q8_0)
expect_failure("there is no manifest in it" --verify model.gguf)
expect_failure("safetensors" model.gguf bad.gguf --format nf4)
expect_failure("tokenizer" model.gguf bad.safetensors --format q8_0)
expect_failure("missing/bad.gguf" model.gguf missing/bad.gguf --format q8_0)
file(GLOB left RELATIVE ${FOLDER} ${FOLDER}/*)
if(NOT left STREQUAL "copy.gguf;model.gguf;one.gguf;one.gguf.manifest.json;three.gguf;three.gguf.manifest.json")
    message(FATAL_ERROR "files were left behind: ${left}")
endif()
