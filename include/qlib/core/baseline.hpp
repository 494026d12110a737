#pragma once
// QLIB_BASE: an identifier made of every instruction set that the compiler may use, a bit for each and four of them
// to a digit. So files that may use different ones have no name in common, whatever the flags that said so. It is a
// list: tests/baselines.py fails when a compiler reports a feature that is not in it. The order means nothing.

// A feature's macro expands to 1. One that is not defined stays its own name, of which there is no QLIB_BIT_...
#define QLIB_BIT_1 ~, 1
#define QLIB_SECOND(first, second, ...) second
#define QLIB_IS_SET(...) QLIB_SECOND(__VA_ARGS__, 0, ~)
#define QLIB_HEX_0000 0
#define QLIB_HEX_0001 1
#define QLIB_HEX_0010 2
#define QLIB_HEX_0011 3
#define QLIB_HEX_0100 4
#define QLIB_HEX_0101 5
#define QLIB_HEX_0110 6
#define QLIB_HEX_0111 7
#define QLIB_HEX_1000 8
#define QLIB_HEX_1001 9
#define QLIB_HEX_1010 a
#define QLIB_HEX_1011 b
#define QLIB_HEX_1100 c
#define QLIB_HEX_1101 d
#define QLIB_HEX_1110 e
#define QLIB_HEX_1111 f
#define QLIB_HEX_OF(a, b, c, d) QLIB_HEX_##a##b##c##d
#define QLIB_HEX(a, b, c, d) QLIB_HEX_OF(a, b, c, d)
#define QLIB_DIGIT_OF(a, b, c, d) \
    QLIB_HEX(QLIB_IS_SET(QLIB_BIT_##a), QLIB_IS_SET(QLIB_BIT_##b), QLIB_IS_SET(QLIB_BIT_##c), QLIB_IS_SET(QLIB_BIT_##d))
#define QLIB_DIGIT(a, b, c, d) QLIB_DIGIT_OF(a, b, c, d)
#define QLIB_PASTE_OF(a, b, c, d, e, f, g, h) a##b##c##d##e##f##g##h
#define QLIB_PASTE(a, b, c, d, e, f, g, h) QLIB_PASTE_OF(a, b, c, d, e, f, g, h)
#define QLIB_NUMBER(digits) QLIB_PASTE(0x, digits, , , , , , )

#if defined(__x86_64__) || defined(__i386__)
#define QLIB_BASE_0 QLIB_PASTE( \
    QLIB_DIGIT(__SSE3__, __SSSE3__, __SSE4_1__, __SSE4_2__), \
    QLIB_DIGIT(__SSE4A__, __AVX__, __AVX2__, __FMA__), \
    QLIB_DIGIT(__F16C__, __FMA4__, __XOP__, __TBM__), \
    QLIB_DIGIT(__LWP__, __ABM__, __LZCNT__, __POPCNT__), \
    QLIB_DIGIT(__BMI__, __BMI2__, __ADX__, __MOVBE__), \
    QLIB_DIGIT(__CRC32__, __PCLMUL__, __AES__, __SHA__), \
    QLIB_DIGIT(__GFNI__, __VAES__, __VPCLMULQDQ__, __SHA512__), \
    QLIB_DIGIT(__SM3__, __SM4__, __3dNOW__, __3dNOW_A__))
#define QLIB_BASE_1 QLIB_PASTE( \
    QLIB_DIGIT(__AVXVNNI__, __AVXIFMA__, __AVXVNNIINT8__, __AVXVNNIINT16__), \
    QLIB_DIGIT(__AVXNECONVERT__, __AVX512F__, __AVX512CD__, __AVX512DQ__), \
    QLIB_DIGIT(__AVX512BW__, __AVX512VL__, __AVX512IFMA__, __AVX512VBMI__), \
    QLIB_DIGIT(__AVX512VBMI2__, __AVX512VNNI__, __AVX512BITALG__, __AVX512VPOPCNTDQ__), \
    QLIB_DIGIT(__AVX512BF16__, __AVX512FP16__, __AVX512VP2INTERSECT__, __AVX512PF__), \
    QLIB_DIGIT(__AVX512ER__, __AVX5124VNNIW__, __AVX5124FMAPS__, __AVX512BMM__), \
    QLIB_DIGIT(__EVEX256__, __EVEX512__, __AVX10_1__, __AVX10_1_256__), \
    QLIB_DIGIT(__AVX10_1_512__, __AVX10_2__, __AVX10_2_256__, __AVX10_2_512__))
#define QLIB_BASE_2 QLIB_PASTE( \
    QLIB_DIGIT(__APX_F__, __EGPR__, __PUSH2POP2__, __PPX__), \
    QLIB_DIGIT(__NDD__, __CCMP__, __NF__, __CF__), \
    QLIB_DIGIT(__ZU__, __AMX_TILE__, __AMX_INT8__, __AMX_BF16__), \
    QLIB_DIGIT(__AMXTILE__, __AMXINT8__, __AMXBF16__, __AMX_FP16__), \
    QLIB_DIGIT(__AMX_COMPLEX__, __AMX_FP8__, __AMX_TF32__, __AMX_AVX512__), \
    QLIB_DIGIT(__AMX_TRANSPOSE__, __AMX_MOVRS__, __MOVRS__, __RAOINT__), \
    QLIB_DIGIT(__CMPCCXADD__, __RTM__, __HLE__, __TSXLDTRK__), \
    QLIB_DIGIT(__LAHF_SAHF__, __XSAVE__, __XSAVEOPT__, __XSAVEC__))
#define QLIB_BASE_3 QLIB_PASTE( \
    QLIB_DIGIT(__XSAVES__, __FSGSBASE__, __RDRND__, __RDSEED__), \
    QLIB_DIGIT(__RDPID__, __PRFCHW__, __PREFETCHWT1__, __PREFETCHI__), \
    QLIB_DIGIT(__CLFLUSHOPT__, __CLWB__, __CLDEMOTE__, __CLZERO__), \
    QLIB_DIGIT(__WBNOINVD__, __MOVDIRI__, __MOVDIR64B__, __ENQCMD__), \
    QLIB_DIGIT(__SERIALIZE__, __WAITPKG__, __MWAITX__, __PTWRITE__), \
    QLIB_DIGIT(__PCONFIG__, __PKU__, __SGX__, __INVPCID__), \
    QLIB_DIGIT(__KL__, __WIDEKL__, __UINTR__, __USER_MSR__), \
    QLIB_DIGIT(__HRESET__, __SHSTK__, __GCC_HAVE_SYNC_COMPARE_AND_SWAP_16, ))
// What every x86-64 has.
#define QLIB_BASE_4 QLIB_PASTE( \
    QLIB_DIGIT(__FXSR__, __MMX__, __SSE__, __SSE2__), \
    QLIB_DIGIT(__SSE_MATH__, __SSE2_MATH__, , ), , , , , , )
#if !defined(__x86_64__)
#define QLIB_BASE QLIB_PASTE(base_x86_, QLIB_BASE_0, QLIB_BASE_1, QLIB_BASE_2, QLIB_BASE_3, QLIB_BASE_4, , )
#elif QLIB_NUMBER(QLIB_BASE_0) != 0 || QLIB_NUMBER(QLIB_BASE_1) != 0 || QLIB_NUMBER(QLIB_BASE_2) != 0 || \
    QLIB_NUMBER(QLIB_BASE_3) != 0 || QLIB_NUMBER(QLIB_BASE_4) != 0xfc
#define QLIB_BASE QLIB_PASTE(base_x86_64_, QLIB_BASE_0, QLIB_BASE_1, QLIB_BASE_2, QLIB_BASE_3, QLIB_BASE_4, , )
#else
#define QLIB_BASE base_x86_64
#endif

#elif defined(__aarch64__)
#define QLIB_BASE_0 QLIB_PASTE( \
    QLIB_DIGIT(__ARM_NEON, __ARM_FEATURE_UNALIGNED, __ARM_FEATURE_DOTPROD, __ARM_FEATURE_MATMUL_INT8), \
    QLIB_DIGIT(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC, __ARM_FEATURE_FP16_SCALAR_ARITHMETIC, \
               __ARM_FEATURE_FP16_FML, __ARM_FEATURE_BF16), \
    QLIB_DIGIT(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC, __ARM_FEATURE_BF16_SCALAR_ARITHMETIC, \
               __ARM_FEATURE_QRDMX, __ARM_FEATURE_COMPLEX), \
    QLIB_DIGIT(__ARM_FEATURE_JCVT, __ARM_FEATURE_FRINT, __ARM_FEATURE_ATOMICS, __ARM_FEATURE_LSE128), \
    QLIB_DIGIT(__ARM_FEATURE_SVE, __ARM_FEATURE_SVE_BF16, \
               __ARM_FEATURE_SVE_MATMUL_INT8, __ARM_FEATURE_SVE_MATMUL_FP32), \
    QLIB_DIGIT(__ARM_FEATURE_SVE_MATMUL_FP64, __ARM_FEATURE_SVE_B16B16, \
               __ARM_FEATURE_SVE2, __ARM_FEATURE_SVE2p1), \
    QLIB_DIGIT(__ARM_FEATURE_SVE2_AES, __ARM_FEATURE_SVE2_BITPERM, \
               __ARM_FEATURE_SVE2_SHA3, __ARM_FEATURE_SVE2_SM4), \
    QLIB_DIGIT(__ARM_FEATURE_SME, __ARM_FEATURE_SME2, __ARM_FEATURE_SME2p1, __ARM_FEATURE_SME_I16I64))
#define QLIB_BASE_1 QLIB_PASTE( \
    QLIB_DIGIT(__ARM_FEATURE_SME_F64F64, __ARM_FEATURE_SME_F16F16, __ARM_FEATURE_SME_B16B16, __ARM_FEATURE_LUT), \
    QLIB_DIGIT(__ARM_FEATURE_FAMINMAX, __ARM_FEATURE_FP8, __ARM_FEATURE_FP8FMA, __ARM_FEATURE_FP8DOT2), \
    QLIB_DIGIT(__ARM_FEATURE_FP8DOT4, __ARM_FEATURE_CRC32, __ARM_FEATURE_CRYPTO, __ARM_FEATURE_AES), \
    QLIB_DIGIT(__ARM_FEATURE_SHA2, __ARM_FEATURE_SHA3, __ARM_FEATURE_SHA512, __ARM_FEATURE_SM3), \
    QLIB_DIGIT(__ARM_FEATURE_SM4, __ARM_FEATURE_RNG, __ARM_FEATURE_RCPC, __ARM_FEATURE_LS64), \
    QLIB_DIGIT(__ARM_FEATURE_MOPS, __ARM_FEATURE_MEMORY_TAGGING, __ARM_FEATURE_TME, __ARM_FEATURE_SYSREG128), \
    QLIB_DIGIT(__ARM_FEATURE_GCS, __ARM_FEATURE_PAUTH, __ARM_FEATURE_BTI, __ARM_FEATURE_BTI_DEFAULT), )
#if defined(__ARM_FEATURE_SVE_BITS)
#define QLIB_BASE_SVE_BITS __ARM_FEATURE_SVE_BITS
#else
#define QLIB_BASE_SVE_BITS 0
#endif
#define QLIB_BASE QLIB_PASTE(base_aarch64_, QLIB_BASE_0, QLIB_BASE_1, _, QLIB_BASE_SVE_BITS, _, __ARM_ARCH, )

#else
#define QLIB_BASE base_other
#endif
