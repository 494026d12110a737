# What quantize promises: a copy is the same file, threads do not change a byte, and a run that fails leaves nothing behind.
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

foreach(format IN ITEMS f16 q4_0 q5_0 q8_0 q4_k q6_k)
    quantize(model.gguf one.gguf --format ${format} --threads 1)
    quantize(model.gguf three.gguf --format ${format} --threads 3)
    expect_same(one.gguf three.gguf)
    quantize(three.gguf three.gguf --format ${format} --fit plain)  # what has its format already is copied, also onto its own file
    expect_same(one.gguf three.gguf)
endforeach()

expect_failure("token_embd.weight .260 x 256.: its type has ggml's number 14" one.gguf bad.gguf --format f16)
expect_failure("no GGUF file" ${CMAKE_CURRENT_LIST_FILE} bad.gguf --format q8_0)
expect_failure("--format" model.gguf bad.gguf --format q9_9)
expect_failure("missing/bad.gguf" model.gguf missing/bad.gguf --format q8_0)
file(GLOB left RELATIVE ${FOLDER} ${FOLDER}/*)
if(NOT left STREQUAL "copy.gguf;model.gguf;one.gguf;three.gguf")
    message(FATAL_ERROR "files were left behind: ${left}")
endif()
