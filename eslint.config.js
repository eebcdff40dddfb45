// SPDX-License-Identifier: GPL-2.0-only
// Typed rules find what tsc lets through. The style is checked, not reflowed: where a line ends is its writer's choice.
import stylistic from '@stylistic/eslint-plugin'
import { defineConfig } from 'eslint/config'
import tseslint from 'typescript-eslint'

export default defineConfig(
  { ignores: ['node_modules/', 'dist/', 'coverage/', '.cache/'] },
  ...tseslint.configs.strictTypeChecked,
  stylistic.configs.customize({ indent: 2, quotes: 'single', semi: false, arrowParens: true, braceStyle: '1tbs', commaDangle: 'always-multiline' }),
  {
    languageOptions: { parserOptions: { projectService: true } },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowNullish: true, allowRegExp: true, allow: [{ from: 'package', name: 'SemVer', package: 'semver' }] }],
      // `return print(line)` is the way out of a function that returns nothing.
      '@typescript-eslint/no-confusing-void-expression': 'off',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      // They are taken apart letter by letter: flags of TCP, characters of a path.
      '@typescript-eslint/no-misused-spread': 'off',
      // What implements an interface of promises may have nothing to wait for.
      '@typescript-eslint/require-await': 'off',
      '@stylistic/member-delimiter-style': ['error', { multiline: { delimiter: 'none' }, singleline: { delimiter: 'semi' } }],
      '@stylistic/quotes': ['error', 'single', { avoidEscape: true, allowTemplateLiterals: 'always' }],
      '@stylistic/quote-props': ['error', 'as-needed', { unnecessary: false }],
      '@stylistic/operator-linebreak': ['error', 'before', { overrides: { '=': 'after' } }],
      '@stylistic/generator-star-spacing': ['error', 'before'],
      // Makefiles in strings.
      '@stylistic/no-tabs': 'off',
    },
  },
  { files: ['eslint.config.js'], ...tseslint.configs.disableTypeChecked },
)
